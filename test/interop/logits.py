"""Logits of the last token of each sequence, as transformers and peft compute them, and the ids of each text.

Every line of standard input is a list of jobs, {"model": folder, "gguf": file or null, "adapter": folder or null, "merge":
whether to fold the adapter in, "sequences": [[id, ...], ...], "texts": [text, ...]}. The line that answers it is a list of
{"logits": [[x, ...], ...], "ids": [[id, ...], ...]}, or {"error": text}.
"""

import json
import sys
import traceback

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


def answer(job):
    files = {"gguf_file": job["gguf"]} if job.get("gguf") else {}
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32, **files)
    if job.get("adapter"):
        model = PeftModel.from_pretrained(model, job["adapter"])
        if job.get("merge"):
            model = model.merge_and_unload()
    model.eval()
    texts = job.get("texts", [])
    tokenizer = AutoTokenizer.from_pretrained(job["model"], **files) if texts else None
    with torch.no_grad():
        logits = [model(input_ids=torch.tensor([ids])).logits[0, -1].tolist() for ids in job["sequences"]]
    return {"logits": logits, "ids": [tokenizer(text)["input_ids"] for text in texts]}


for line in sys.stdin:
    try:
        answers = [answer(job) for job in json.loads(line)]
    except Exception:
        answers = {"error": traceback.format_exc()}
    print(json.dumps(answers), flush=True)
