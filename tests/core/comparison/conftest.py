"""Run folders without a training: what `dlpipe compare` reads, and nothing else."""

import json
from datetime import datetime

import pytest
import tomli_w


@pytest.fixture
def make_run(tmp_path):
    """Write a finished run; return its folder."""

    def make(name, scores=(1, 0, 1, 1), *, seed=0, pipeline="digits", weights=None, **changes):
        folder = tmp_path / "runs" / pipeline / name
        folder.mkdir(parents=True)
        tables = {
            "name": pipeline,
            "seed": seed,
            "data": {"use": "vision.digits"},
            "model": {"use": "vision.cnn", "width": changes.get("width", 3)},
            "trainer": {"use": "core.supervised"},
            "evaluators": {
                changes.get("evaluator", "digits"): {"use": "core.classification", "splits": ["dev", "test"]}
            },
        }
        weights = weights or [1] * len(scores)
        metric = sum(w * s for w, s in zip(weights, scores, strict=True)) / sum(weights)
        provenance = {
            "stages": {
                "": {
                    "metric": "digits/accuracy",
                    "goal": changes.get("goal", "max"),
                    "monitor": "",
                    "monitor_goal": "",
                    "goals": changes.get("goals", {}),
                    "primary_depends_on": {"digits": changes.get("depends_on", {})},
                    "total_steps": None,
                }
            },
            "time": changes.get("began", datetime.now().astimezone().isoformat()),
            "ended": {"": {"reason": "5 epochs", "step": 20, "seconds": 1.5}},
            "versions": {"python": "3.12.1", "torch": changes.get("torch", "2.12")},
        }
        name = changes.get("metric", "digits/accuracy")
        records = [
            {"step": 10, f"dev/{name}": 0.25},
            {"step": 20, f"dev/{name}": 0.5},
            {"step": 20, f"test/{name}": metric},
        ]
        lines = [
            {"metric": name, "row": row, "name": f"image {row}", "true": "1", "predicted": str(score), "score": score}
            | ({"weight": weight} if weight != 1 else {})
            for row, (score, weight) in enumerate(zip(scores, weights, strict=True))
        ]
        state = changes.get("state", "finished")
        (folder / "resolved.toml").write_text(tomli_w.dumps(tables))
        (folder / "status.json").write_text(json.dumps({"state": state}))
        (folder / "provenance.json").write_text(json.dumps(provenance))
        (folder / "data.json").write_text(json.dumps({"fingerprint": changes.get("data", "d1"), "state": {}}))
        if state == "finished":
            write_lines(folder / "metrics.jsonl", records)
            write_lines(folder / "predictions.jsonl", lines)
        return folder

    return make


def write_lines(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
