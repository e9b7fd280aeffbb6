"""The coordinator's notes as lines that people read."""

from typing import Any


def line(note: dict[str, Any]) -> str:
    """Return one line of progress, or "" for what nobody needs to see."""
    match note:
        case {"stage": "offered", "willing": willing, "refusals": refusals}:
            refused = ", ".join(str(refusal["node"]) for refusal in refusals)
            return f"{len(willing)} nodes agreed" + (f"; refused: {refused}" if refused else "")
        case {"stage": "round", "round": done, "of": of, "parties": parties, "lost": lost}:
            missing = f"; lost: {', '.join(lost)}" if lost else ""
            return f"round {done}/{of} from {len(parties)} nodes{missing}"
        case {"stage": "resumed", "round": done, "of": of}:
            return f"resumed after round {done}/{of}"
        case {"stage": "sealed", "parties": parties}:
            return f"{len(parties)} sealed partials"
        case {"stage": "silence", "reason": reason}:
            return str(reason)
    return ""
