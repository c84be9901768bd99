"""transformers and peft as the other side of a comparison, in a process of their own: `python transformers_server.py DTYPE`.

As one would use them for speed on a CPU: scaled-dot-product attention, no gradient checkpointing, inference mode for
evaluation. Padding is only what a batch of unequal reviews needs. What differs from lorikeet is what these libraries do:
every review carries the instruction, logits are computed for all rows in training, weights are widened when they are read.
"""

import os
import resource
import sys
import time
import warnings

os.environ["TQDM_DISABLE"] = "1"

import peft
import torch
import transformers
from protocol import serve
from tokenizers import pre_tokenizers


def peak_bytes():
    """The most this process has held; Linux counts in KiB, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def encode(request, tokenizer):
    """(prompt, answer) ids of every review. The cut touches the review alone, as with lorikeet."""

    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    template = request["template"]
    before, after = ids(template["before"]), ids(template["after"])
    answers = [ids(template["joint"] + label) for label in request["labels"]]
    rows = [
        (before + ids(row["text"])[: request["maxLength"]] + after, answers[row["label"]]) for row in request["rows"]
    ]
    return rows, answers


class Padded:
    """A batch of sequences, padded to the longest on one side."""

    def __init__(self, sequences, pad, side):
        width = max(len(s) for s in sequences)

        def padded(values, filler):
            gap = [filler] * (width - len(values))
            return gap + values if side == "left" else values + gap

        self.ids = torch.tensor([padded(s, pad) for s in sequences])
        self.mask = torch.tensor([padded([1] * len(s), 0) for s in sequences])


class Training:
    def __init__(self, model, tokenizer, request):
        torch.manual_seed(request["seed"])
        if request["job"] == "lora":
            config = peft.LoraConfig(
                task_type="CAUSAL_LM", r=8, lora_alpha=16, lora_dropout=0.1, target_modules=["q_proj", "v_proj"]
            )
        else:
            config = peft.PromptTuningConfig(
                task_type="CAUSAL_LM", num_virtual_tokens=8, prompt_tuning_init=peft.PromptTuningInit.RANDOM
            )
        self.model = peft.get_peft_model(model, config).train()
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0)
        self.virtual_tokens = 8 if request["job"] == "prompt" else 0
        self.batch = request["batch"]
        self.pad = tokenizer.eos_token_id
        rows, _ = encode(request, tokenizer)
        self.rows = [(prompt, answer + [tokenizer.eos_token_id]) for prompt, answer in rows]
        self.tokens = [len(prompt) + len(answer) for prompt, answer in self.rows]
        self.at = 0

    def run(self, steps):
        seconds, losses, computed, first = [], [], 0, self.at
        for _ in range(steps):
            rows = self.rows[self.at : self.at + self.batch]
            self.at += len(rows)
            started = time.perf_counter()
            batch = Padded([prompt + answer for prompt, answer in rows], self.pad, "right")
            labels = torch.full_like(batch.ids, -100)
            for i, (prompt, answer) in enumerate(rows):
                labels[i, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
            loss = self.model(input_ids=batch.ids, attention_mask=batch.mask, labels=labels).loss
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            losses.append(loss.item())
            seconds.append(time.perf_counter() - started)
            computed += batch.ids.numel() + len(rows) * self.virtual_tokens
        return {
            "seconds": seconds,
            "reviews": self.at - first,
            "tokens": sum(self.tokens[first : self.at]),
            "computed": computed,
            "losses": losses,
            "predictions": [],
        }


class Evaluation:
    """Scores labels of one token each by the last row's logits, sorted by length so that little is padded."""

    def __init__(self, model, tokenizer, request):
        self.model = model.eval()
        self.batch = request["batch"]
        self.pad = tokenizer.eos_token_id
        rows, answers = encode(request, tokenizer)
        if any(len(answer) != 1 for answer in answers):
            raise ValueError(f"labels {request['labels']} are not one token each")
        self.answers = torch.tensor([answer[0] for answer in answers])
        self.prompts = [prompt for prompt, _ in rows]
        self.tokens = [len(prompt) for prompt in self.prompts]
        self.at = 0

    def run(self, steps):
        first = self.at
        self.at = min(len(self.prompts), self.at + steps * self.batch)
        order = sorted(range(first, self.at), key=lambda i: self.tokens[i])
        predictions, computed = {}, 0
        started = time.perf_counter()
        with torch.inference_mode():
            for at in range(0, len(order), self.batch):
                part = order[at : at + self.batch]
                # Padded on the left, so that the head is needed for the last row alone.
                batch = Padded([self.prompts[i] for i in part], self.pad, "left")
                positions = (batch.mask.cumsum(-1) - 1).clamp(min=0)
                logits = self.model(
                    input_ids=batch.ids, attention_mask=batch.mask, position_ids=positions, logits_to_keep=1, use_cache=False
                ).logits
                for i, best in zip(part, logits[:, -1, self.answers].argmax(-1).tolist()):
                    predictions[i] = best
                computed += batch.ids.numel()
        return {
            "seconds": [time.perf_counter() - started],
            "reviews": self.at - first,
            "tokens": sum(self.tokens[first : self.at]),
            "computed": computed,
            "losses": [],
            "predictions": [predictions[i] for i in range(first, self.at)],
        }


def load(request):
    global job
    torch.set_num_threads(request["threads"])
    folder, file = os.path.split(request["model"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file)
    # Read from GGUF, transformers' tokenizer lacks the first step of SmolLM2's own: every digit stands alone.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file, dtype=getattr(torch, dtype), attn_implementation="sdpa"
    )
    job = (Evaluation if request["job"] == "eval" else Training)(model, tokenizer, request)
    return {
        "description": f"transformers {transformers.__version__}, peft {peft.__version__}, torch {torch.__version__}, "
        f"{dtype}, {torch.get_num_threads()} threads",
        "tokens": sum(job.tokens),
        "peakBytes": peak_bytes(),
    }


def answer(request):
    if request["do"] == "load":
        return load(request)
    return {**job.run(request["steps"]), "peakBytes": peak_bytes()}


dtype = sys.argv[1]
job = None
transformers.logging.set_verbosity_error()
warnings.simplefilter("ignore", FutureWarning)
serve(answer)
