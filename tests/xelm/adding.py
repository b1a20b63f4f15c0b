"""Made-up text of new languages, and a finished tiny run to add them to."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from clustering.files import sha256_of
from tests.xelm.conftest import make_corpus, tiny_table, write_jsonl
from xelm.making.train import train
from xelm.models.tokenizers import new_tokenizer
from xelm.recipe.recipe import NewBase, Recipe
from xelm.run.experts import ExpertSet
from xelm.run.records.manifest import kept_files

NEW_WORDS = {
    "swe": "och att det som på är inte jag hus vatten morgon kväll gata vacker stor barn bröd",
    "pol": "i nie to dom woda rano wieczór ulica piękny duży dziecko chleb słońce dzień noc się",
    "spa": "el la que no casa agua mañana tarde calle hermoso grande niño pan sol día noche muy",
    "ell": "και δεν το σπίτι νερό πρωί βράδυ δρόμος όμορφος μεγάλος παιδί ψωμί ήλιος μέρα νύχτα",
    "ckm": "ča nije to hiža voda jutro večer ulica lip velik dite kruh sunce dan noć more otok",
}
"""`ckm` (Chakavian) has an ISO 639-3 code and no row in URIEL."""
OLD = ("deu", "nld", "rus")


def new_text(folder: Path, code: str, number: int = 60, words: str | None = None) -> Path:
    """`<code>.jsonl` with made-up sentences, a verse of about 70 characters each."""
    rng, vocabulary = random.Random(code), (words or NEW_WORDS[code]).split()
    rows = [f"{' '.join(rng.choices(vocabulary, k=12)).capitalize()} {i}." for i in range(number)]
    return write_jsonl(folder / f"{code}.jsonl", list(rows))


def train_tiny(folder: Path, **sections: dict[str, object]) -> Path:
    """A finished run of the tiny recipe on its own corpus."""
    data = {"path": str(make_corpus(folder / "corpus")), **sections.pop("data", {})}
    return train(Recipe.from_dict(tiny_table(data=data, **sections)), folder / "run").path


def train_masked(folder: Path) -> Path:
    """A finished run of tiny masked models in two languages."""
    import transformers

    tokenizer = new_tokenizer(NewBase(context_length=40), ())
    tokenizer.add_special_tokens({"mask_token": "<mask>", "cls_token": "<s>", "sep_token": "</s>"})
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=40,
        pad_token_id=tokenizer.pad_token_id,
    )
    for part in (transformers.BertForMaskedLM(config), tokenizer):
        part.save_pretrained(folder / "base")
    return train_tiny(
        folder,
        base={"new": None, "model": str(folder / "base")},
        data={"languages": ["deu", "rus"]},
        train={"sequence_length": 32, "objective": "masked", "learning_rate": 1e-2},
    )


def copy_of(run: Path, folder: Path) -> Path:
    """A copy to be changed: a run has no absolute paths."""
    return Path(shutil.copytree(run, folder / "copy"))


def contents(run: Path) -> dict[str, str]:
    """SHA-256 of every file, of the run or not, but for the lock and what the cache remembers of files' times."""
    return {
        path.relative_to(run).as_posix(): sha256_of(path)
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name not in (".lock", "checksums.json", "text-hashes.json")
    }


def models_of(run: Path, names: list[str]) -> dict[str, str]:
    """SHA-256 of every file of these models."""
    folders = tuple(f"{ExpertSet.load(run).folder(name).relative_to(run).as_posix()}/" for name in names)
    return {name: sha256_of(run / name) for name in kept_files(run) if name.startswith(folders)}
