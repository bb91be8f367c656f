"""The obvious alternative: FastAPI, torch and pytorch-grad-cam, as written in an afternoon.

    PEER_WEIGHTS=weights.safetensors uvicorn peer:app

The classifier is the same network with the same weights. pytorch-grad-cam keeps its hooks on the
network, so one request at a time may use it.
"""

import io
import os
import threading

import numpy as np
import torch
from fastapi import FastAPI, UploadFile
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from safetensors.torch import load_file
from torchvision.models import resnet18

app = FastAPI()
torch.set_num_threads(int(os.environ["PEER_THREADS"]))
state = load_file(os.environ["PEER_WEIGHTS"])
prefix = "network."
network = resnet18(num_classes=int(os.environ["PEER_CLASSES"])).eval()
network.load_state_dict(
    {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
)
mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
gradcam = GradCAM(model=network, target_layers=[network.layer4[-1]])
lock = threading.Lock()


@app.post("/predict")
def predict(image: UploadFile) -> dict:
    """Classify one image and draw its Grad-CAM."""
    picture = Image.open(io.BytesIO(image.file.read())).convert("RGB").resize((224, 224))
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
    batch = (pixels - mean) / std
    with lock:
        with torch.no_grad():
            probabilities = network(batch).softmax(1)[0]
        decided = int(probabilities.argmax())
        heatmap = gradcam(input_tensor=batch, targets=[ClassifierOutputTarget(decided)])[0]
    small = Image.fromarray(heatmap).resize((7, 7))
    top = probabilities.topk(5)
    return {
        "classes": [
            {"index": int(index), "probability": float(value)}
            for value, index in zip(top.values, top.indices, strict=True)
        ],
        "heatmap": np.round(np.asarray(small, dtype=float), 4).tolist(),
    }
