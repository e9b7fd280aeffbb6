"""A match as people read it: what came of it, what it would cost, and what a person approves."""

from collections.abc import Mapping
from typing import Any


def found(value: Mapping[str, Any]) -> str:
    """Return what came of a match."""
    names = f"{value['receiver']} and {value['sender']}"
    if "sum" in value:
        return _summed(value, names)
    if "size" in value:
        noise = value["noise"]
        return (
            f"{names} have about {value['size']} people in common (standard deviation of the noise "
            f"{noise['told']}), by {value['on']}\n"
            f"charged at both: ε {value['epsilon']}, own δ {noise['delta']}, per {value['unit']}"
        )
    table = f"matches/{value['run']}.parquet"
    if value["mode"] == "intersection":
        return f"{value['receiver']} knows which people both have: {table} in its folder"
    return f"{names} each hold the tokens of their own people: {table} in their folders"


def _summed(value: Mapping[str, Any], names: str) -> str:
    size, total, noise = value["sizes"], value["sum"], value["noise"]
    return (
        f"{names} have about {size['value']} people in common ({size['low']} to {size['high']}), "
        f"by {value['on']}\n"
        f"they have about {total['value']} {value['unit_of_sum']} of {noise['sum']['of']} at "
        f"{value['sender']} together ({total['low']} to {total['high']}; both intervals 95 %)\n"
        f"charged at both: ε {value['epsilon']}, own δ {noise['delta']}, per {value['unit']}"
    )


def explained(value: Mapping[str, Any]) -> str:
    """Return price, error and who learns what."""
    caps = value["caps"]
    what = (
        f"{value['mode']} of {value['receiver']} (up to {caps['receiver']} people) and "
        f"{value['sender']} (up to {caps['sender']}), by {value['on']}, window {value['window']}"
    )
    lines = [
        what,
        *_price(value),
        *(f"{line['who']} learns {line['what']}" for line in value["learns"]),
        f"letters: {' and '.join(map(str, value['bytes'].values()))} bytes, whatever the sets",
    ]
    lines += [f"a person of {party} has to approve it" for party in value["approvals"]]
    lines += [f"{row['node']}: ε {row['epsilon']} of {row['limit']} spent" for row in value["left"]]
    return "\n".join(lines)


def _price(value: Mapping[str, Any]) -> list[str]:
    noise = value["noise"]
    if noise is None:
        return ["no noise and no ε: who is in both sets is told, and stands in the ledger as that"]
    price = (
        f"ε {value['epsilon']} at δ {value['delta']} and own δ {noise['delta']}, from the account "
        f"of either side; ± {noise['receiver']} for the receiver, ± {noise['told']} for the others"
    )
    return [price] if "sum" not in noise else [price, _of_sum(noise["sum"])]


def _of_sum(noise: Mapping[str, Any]) -> str:
    return (
        f"{noise['of']} of one identifier is held to {noise['low']} to {noise['high']} "
        f"{noise['unit']}; its sum is told within ± {noise['ends']} to either end and ± "
        f"{noise['told']} to the others, 95 times of 100"
    )
