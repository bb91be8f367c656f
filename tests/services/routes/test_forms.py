import base64
import json

import pytest

from services.answering.answerer import Question
from services.contract.predictions import Options
from services.errors import InvalidFieldsError, RequestError, ServiceError, TooLargeError
from services.routes import forms
from services.web import native

TEXT = base64.b64encode(b"image").decode()


def of_json(body, most=3) -> Question:
    return forms.question_of_json(json.dumps(body).encode(), most)


def test_one_image_or_several() -> None:
    assert [b"image"] == of_json({"image": TEXT}).images
    assert [b"image", b"image"] == of_json({"image": [TEXT, TEXT]}).images


@pytest.mark.parametrize(
    ("region", "regions"),
    [
        (None, [None]),
        (TEXT, [b"image"]),
        ([TEXT], [b"image"]),
        ([None], [None]),
    ],
)
def test_a_region_or_none(region, regions) -> None:
    assert regions == list(of_json({"image": TEXT, "region": region}).regions)


def test_some_images_may_have_a_region() -> None:
    question = of_json({"image": [TEXT, TEXT], "region": [None, TEXT]})

    assert [None, b"image"] == list(question.regions)


def test_options_carry_the_same_names() -> None:
    options = {"explainer": "lrp", "target": "7", "top_k": 2, "overlay": "png", "subject": "s"}

    assert Options(**options) == of_json({"image": TEXT, **options}).options


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ([], InvalidFieldsError),
        (None, InvalidFieldsError),
        ({}, InvalidFieldsError),
        ({"image": 5}, InvalidFieldsError),
        ({"image": []}, InvalidFieldsError),
        ({"image": ""}, InvalidFieldsError),
        ({"image": {"url": "http://localhost"}}, InvalidFieldsError),
        ({"image": TEXT, "top_k": 0}, InvalidFieldsError),
        ({"image": TEXT, "overlay": "jpeg"}, InvalidFieldsError),
        ({"image": TEXT, "images": TEXT}, InvalidFieldsError),
        ({"image": "http://localhost/image.png"}, RequestError),
        ({"image": TEXT + "="}, RequestError),
        ({"image": "äöü"}, RequestError),
        ({"image": TEXT, "region": [TEXT, TEXT]}, RequestError),
        ({"image": TEXT, "region": [None, None]}, RequestError),
        ({"image": [TEXT] * 4}, TooLargeError),
    ],
)
def test_wrong_bodies_are_refused(body, error) -> None:
    with pytest.raises(error):
        of_json(body)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"image": NaN}'])
def test_what_is_no_json_is_refused(body) -> None:
    with pytest.raises(ServiceError):
        forms.question_of_json(body, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("null", None),
        ('"lrp"', "lrp"),
        ("lrp", "lrp"),
        ("5", "5"),
        ('"', '"'),
        ('"a', '"a'),
        ('""', ""),
        ("[1]", "[1]"),
    ],
)
def test_bentomls_clients_quote_their_texts(text, said) -> None:
    assert said == native.said(text)
