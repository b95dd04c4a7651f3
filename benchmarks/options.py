"""Options that several benchmarks share; imports nothing heavy, so that --help is instant."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE))


def comparison_parser(description: str, minutes: float, seeds: Sequence[int]) -> argparse.ArgumentParser:
    """Make a parser with the options of all comparisons; the budget is `minutes` unless epochs are given."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="sample", metavar="NAME|FOLDER|ZIP", help="as for train.py (default: sample)")
    parser.add_argument("--split", type=Path, metavar="CSV", help="drawn without it, and the same for all")
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="for models and label maps")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--minutes", type=float, default=minutes, metavar="N", help=f"of each training (default: {minutes:g})"
    )
    budget.add_argument(
        "--epochs", type=int, metavar="N", help="of each training, whatever else the machine does meanwhile"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds), metavar="N", help=f"(default: {seeds})")
    parser.add_argument("options", nargs="*", metavar="-- OPTION", help="more options of train.py, for every training")
    return parser


def adapting_parser(description: str) -> argparse.ArgumentParser:
    """Make a parser with the options of benchmarks that adapt a model to a few images of a kind."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="NAME|FOLDER|ZIP", help="as for train.py")
    parser.add_argument("--split", type=Path, required=True, metavar="CSV", help="with the column kind")
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="for models and label maps")
    parser.add_argument("--kind", default="stained", help="that the model does not know at first (default: stained)")
    parser.add_argument("--images", type=int, default=8, metavar="N", help="of the kind, to adapt to (default: 8)")
    return parser


def model_parser(description: str, subset: str) -> argparse.ArgumentParser:
    """Make a parser with the options for the model and the images to measure."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HERE / "data" / "sample" / "test", metavar="FOLDER|ZIP")
    parser.add_argument("--split", type=Path, metavar="CSV")
    parser.add_argument("--subset", default=subset, metavar="NAME", help=f"of the split (default: {subset})")
    parser.add_argument("--model", type=Path, default=HERE / "models" / "nuclei", metavar="FOLDER")
    return parser
