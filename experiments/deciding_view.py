"""An order that waits for a person, in plain words, in English or Chinese."""

from collections.abc import Iterator, Mapping
from typing import Any

from experiments.outcome import Language
from experiments.telling import plain, span
from experiments.verdicts import JOINED
from experiments.words import name_of, say


def spoken(shown: Mapping[str, Any], language: Language = "en") -> str:
    """Return what a person reads before saying anything: every text of others on one line."""
    return "\n".join(_lines(shown, language))


def _lines(shown: Mapping[str, Any], language: Language) -> Iterator[str]:
    def line(name: str, **facts: Any) -> str:
        return say(f"approve.{name}", language, **facts)

    joined = JOINED[language].join
    yield line(
        "asks",
        order=shown["order"],
        party=plain(shown["asks"]),
        kind=name_of("order_kind", shown["kind"], language),
        what=plain(shown["what"], 400),
    )
    for read in shown["reads"]:
        columns = joined(plain(column) for column in read["columns"])
        yield line("reads", contract=plain(read["contract"]), columns=columns)
    yield line("purpose", purpose=plain(shown["purpose"]), basis=plain(shown["legal_basis"]))
    if turn := shown["schedule"]:
        yield line("turn", **turn_facts(turn))
    for account in shown["accounts"]:
        yield line("account", **_account(account))
    yield line("price", epsilon=shown["epsilon"], most=shown["most"], delta=shown["delta"])
    for error in shown["errors"]:
        yield line("error", label=plain(error["label"]), error=plain(error["error"]))
    yield line("leaves", what=name_of("kind", shown["leaves"], language))
    yield line("learns", parties=joined(map(plain, shown["learns"])))
    yield line("others", parties=joined(map(plain, shown["asked"])), minimum=shown["minimum"])
    for rule in shown["rules"]:
        yield line("rule", id=rule["id"], text=rule[language], law=rule["law"])
    if shown["countersigned"]:
        yield line("countersigned", parties=joined(map(plain, shown["countersigned"])))
    if shown["since"] is None:
        yield line("first")
    elif not shown["changes"]:
        yield line("same", run=shown["since"][:12])
    else:
        yield line("since", run=shown["since"][:12])
    for change in shown["changes"]:
        facts = {name: plain(change[name], 200) or "–" for name in ("what", "before", "now")}
        yield line("change", **facts)
    yield line("until", until=shown["waits_until"])


def turn_facts(turn: Mapping[str, Any]) -> dict[str, Any]:
    """Return number, of and every of an order's turn as words."""
    return {**turn, "every": span(turn["every"])}


def _account(account: Mapping[str, Any]) -> dict[str, str]:
    names = {name: plain(account[name]) for name in ("dataset", "unit", "window")}
    return names | {name: f"{account[name]:.2f}" for name in ("cost", "left", "limit")}


def _numbered(turn: Mapping[str, Any] | None, language: Language) -> str:
    return "" if turn is None else say("approve.numbered", language, **turn_facts(turn))


def listed(overview: Mapping[str, Any], language: Language = "en") -> str:
    """Return what waits and which envelopes hold, one a line."""
    lines = [
        say(
            "approve.waits",
            language,
            order=one["order"][:12],
            kind=name_of("order_kind", one["kind"], language),
            party=plain(one["asks"]),
            purpose=plain(one["purpose"]),
            epsilon=plain(one["epsilon"]),
            until=one["until"],
        )
        + _numbered(one["schedule"], language)
        for one in overview["waiting"]
    ]
    lines = lines or [say("approve.nothing", language)]
    lines += [
        say(
            "approve.standing",
            language,
            id=one["id"][:12],
            person=plain(one["person"]),
            orders=one["orders"],
            spent=one["spent"],
            total=one["total"],
            days=one["days"],
            expires=one["expires"],
        )
        for one in overview["standing"]
    ]
    return "\n".join(lines)
