"""Prints the table of docs/parity.md: `python -m tests.parity.report`. Fails where a comparison does."""

from tests.parity import comparisons, dalle_gpt
from tests.parity.comparisons import Comparison


def to_row(comparison: Comparison) -> str:
    if comparison.tolerance:
        allowed, measured = f"{comparison.tolerance:.2g}", f"{comparison.error:.1e}"
    else:
        allowed, measured = "equal", "equal" if comparison.error == 0 else f"{comparison.error:g} differ"
    return f"| {comparison.golden} | {comparison.quantity} | {allowed} | {measured} |"


def main() -> int:
    compared = [each for compare in (comparisons.ALL | dalle_gpt.ALL).values() for each in compare()]
    print("| golden | compared | tolerance | largest error |\n|---|---|---|---|")
    print("\n".join(map(to_row, compared)))
    return int(not all(each.passes for each in compared))


if __name__ == "__main__":
    raise SystemExit(main())
