"""Whether what was seen in a picture is what was asked for."""

from model_core.shipped.evaluation.composition.detector import Found, Seen
from model_core.shipped.evaluation.composition.questions import Question

APART = 8.0  # pixels by which centres have to differ for one side to be told from the other


def is_right(question: Question, seen: Seen) -> bool:
    """Whether a picture shows all that the row asks about; what else it shows does not matter, but for counts.

    single: the thing. color: the thing, in its colour. count: the thing, so many times, and nothing else. pair: both
    things. relation: both, and the first where it should be, seen from the second. ground: the thing, and the ground.
    """
    subjects = question.description.subjects
    groups = [[found for found in seen.found if found.thing == subject.name] for subject in subjects]
    if not all(groups):
        return False
    first = subjects[0]
    if question.row == "color":
        return any(found.color == first.color for found in groups[0])
    if question.row == "count":
        return len(groups[0]) == len(seen.found) == first.count
    if question.row == "relation":
        relation = question.description.relation
        return any(_stands(one, relation, other) for one in groups[0] for other in groups[1])
    if question.row == "ground":
        return seen.ground == question.description.ground
    return True


def _stands(one: Found, relation: str, other: Found) -> bool:
    across, down = one.center[0] - other.center[0], one.center[1] - other.center[1]
    return {
        "left of": across <= -APART,
        "right of": across >= APART,
        "above": down <= -APART,
        "below": down >= APART,
    }[relation]
