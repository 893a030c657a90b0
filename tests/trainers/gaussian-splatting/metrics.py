"""A stand-in for graphdeco's metrics.py: PSNR of test/ours_N into results.json."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser

import numpy as np
import standin
from PIL import Image

if __name__ == "__main__":
    parser = ArgumentParser(description="Training script parameters")
    parser.add_argument("--model_paths", "-m", required=True, nargs="+", type=str, default=[])
    for scene in parser.parse_args().model_paths:
        results = {}
        for method in os.listdir(os.path.join(scene, "test")):
            folder = os.path.join(scene, "test", method)
            scores = []
            for name in sorted(os.listdir(os.path.join(folder, "renders"))):
                pictures = [
                    np.array(Image.open(os.path.join(folder, k, name))) / 255
                    for k in ("renders", "gt")
                ]
                scores.append(standin.psnr(*pictures))
            print(f"  PSNR : {float(np.mean(scores)):>12.7f}")
            results[method] = {"SSIM": 0.9, "PSNR": float(np.mean(scores)), "LPIPS": 0.1}
        with open(os.path.join(scene, "results.json"), "w") as file:
            json.dump(results, file, indent=True)
