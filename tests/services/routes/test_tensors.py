"""Tensors of the Open Inference Protocol: what is read is what was written, and nothing else."""

import json
import struct

import numpy as np
import pytest

from services.contract.inference import TensorRequest
from services.errors import InvalidFieldsError, MalformedError, RequestError
from services.routes import tensors
from services.routes.tensors import Tensor


def body(*, size: object = 4, tail: bytes = b"abcd") -> tuple[bytes, str]:
    head = {
        "inputs": [
            {
                "name": "image",
                "shape": [4],
                "datatype": "UINT8",
                "parameters": {"binary_data_size": size},
            }
        ]
    }
    text = json.dumps(head).encode()
    return text + tail, str(len(text))


def request(datatype: str, shape: list[int], data: list | None = None) -> TensorRequest:
    return TensorRequest(name="image", shape=shape, datatype=datatype, data=data)


def test_the_binary_part_is_cut_as_the_json_part_says() -> None:
    wish, [part] = tensors.parse(*body())

    assert b"abcd" == part
    assert [97, 98, 99, 100] == tensors.numbers(wish.inputs[0], part).tolist()


@pytest.mark.parametrize(
    ("changes", "header", "error", "said"),
    [
        ({"tail": b"abc"}, None, MalformedError, "4 bytes are promised, fewer came"),
        ({"tail": b"abcde"}, None, MalformedError, "1 bytes belong to no tensor"),
        ({"size": -1}, None, RequestError, "not a number of bytes"),
        ({"size": True}, None, RequestError, "not a number of bytes"),
        ({}, "9999999", MalformedError, "the body has"),
        ({}, "-1", MalformedError, "the body has"),
        ({}, "10", InvalidFieldsError, "fields cannot be used"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, header, error, said) -> None:
    content, right = body(**changes)

    with pytest.raises(error, match=said):
        tensors.parse(content, header or right)


def test_elements_carry_their_length() -> None:
    raw = b"".join(struct.pack("<I", len(each)) + each for each in (b"one", b"", b"three"))

    assert [b"one", b"", b"three"] == tensors.elements(request("BYTES", [3]), raw)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\x01\x00", "length is cut off"),
        (struct.pack("<I", 2**32 - 1) + b"x", "element is cut off"),
        (struct.pack("<I", 1) + b"x", "1 elements for shape"),
    ],
)
def test_elements_that_are_cut_off_are_refused(raw, said) -> None:
    with pytest.raises(RequestError, match=said):
        tensors.elements(request("BYTES", [2]), raw)


def test_texts_are_base64_however_deep_they_lie() -> None:
    assert [b"a", b"b"] == tensors.elements(request("BYTES", [2], [["YQ=="], "Yg=="]), None)


@pytest.mark.parametrize(("data", "said"), [([1], "texts"), (["!"], "base64"), ([], "0 elements")])
def test_texts_that_are_none_are_refused(data, said) -> None:
    with pytest.raises(RequestError, match=said):
        tensors.elements(request("BYTES", [1], data), None)


def test_numbers_keep_their_shape() -> None:
    found = tensors.numbers(request("UINT8", [2, 2], [[1, 2], [3, 255]]), None)

    assert np.uint8 == found.dtype
    assert [[1, 2], [3, 255]] == found.tolist()


@pytest.mark.parametrize("data", [[1, 2], [1.5, 2, 3, 4], [1, 2, 3, 256], [-1, 2, 3, 4], None])
def test_numbers_that_are_none_of_the_kind_are_refused(data) -> None:
    with pytest.raises(RequestError, match="are expected"):
        tensors.numbers(request("UINT8", [2, 2], data), None)


def test_ragged_rows_are_refused() -> None:
    with pytest.raises(RequestError, match="different lengths"):
        tensors.numbers(request("UINT8", [2, 2], [[1, 2], [3]]), None)


def test_an_answer_in_binary_says_how_long_its_json_is() -> None:
    wish, _ = tensors.parse(*body())
    wish = wish.model_copy(update={"parameters": {"binary_data_output": True}})
    shown = [
        Tensor("heatmap", "FP32", np.array([[0.5, 1.0]])),
        Tensor("label", "BYTES", np.array(["é"], object)),
    ]
    content, length = tensors.answer(wish, {"model_name": "m"}, shown)
    head = json.loads(content[:length])

    assert [8, 6] == [each["parameters"]["binary_data_size"] for each in head["outputs"]]
    assert np.array([0.5, 1.0], "<f4").tobytes() == content[length : length + 8]
    assert struct.pack("<I", 2) + "é".encode() == content[length + 8 :]
