"""Logits of the last token of each sequence, as transformers and peft compute them.

Reads a list of jobs from standard input, {"model": folder, "gguf": file or null, "adapter": folder or null,
"sequences": [[id, ...], ...]}, and prints a list of lists of logits.
"""

import json
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


def logits(job):
    files = {"gguf_file": job["gguf"]} if job.get("gguf") else {}
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32, **files)
    if job.get("adapter"):
        model = PeftModel.from_pretrained(model, job["adapter"])
    model.eval()
    with torch.no_grad():
        return [model(input_ids=torch.tensor([ids])).logits[0, -1].tolist() for ids in job["sequences"]]


print(json.dumps([logits(job) for job in json.load(sys.stdin)]))
