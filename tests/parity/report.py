"""Prints the table of docs/parity.md: `python -m tests.parity.report`. Fails where a comparison does."""

from tests.parity import codec_comparisons, comparisons, dalle_gpt, llama_comparisons
from tests.parity.comparisons import Comparison

ALL = comparisons.ALL | codec_comparisons.ALL | dalle_gpt.ALL | llama_comparisons.ALL


def to_row(comparison: Comparison) -> str:
    if comparison.tolerance:
        allowed, measured = f"{comparison.tolerance:.2g}", f"{comparison.error:.1e}"
    else:
        allowed, measured = "equal", "equal" if comparison.error == 0 else f"{comparison.error:g} differ"
    return f"| {comparison.golden} | {comparison.quantity} | {allowed} | {measured} |"


def main() -> int:
    compared = [comparison for compare in ALL.values() for comparison in compare()]
    print("| golden | compared | tolerance | largest error |\n|---|---|---|---|")
    print("\n".join(map(to_row, compared)))
    return int(not all(comparison.passes for comparison in compared))


if __name__ == "__main__":
    raise SystemExit(main())
