"""What the policy commands say, in English and Chinese."""

from collections.abc import Mapping
from typing import Final

from experiments.outcome import Language, Text

WORDS: Final[Mapping[str, Text]] = {
    "title": Text(
        "Policy card of {node}, {place} · law {law} · {day}",
        "{node}({place})的策略卡 · 规则 {law} · {day}",
    ),
    "allows": Text("What this node will ever allow", "本节点最多允许什么"),
    "allows_note": Text(
        "Computed by asking this node's law, not read from its wording. An order still needs an "
        "account that can pay.",
        "由向本节点规则逐一提问得出,而非根据条文文字推断。任务单仍须有足够的隐私账户余额。",
    ),
    "task": Text("task", "任务"),
    "persons": Text("about persons: ε at most, results to", "涉及个人:ε 上限,结果可至"),
    "firms": Text("about firms: ε at most, results to", "涉及企业:ε 上限,结果可至"),
    "never": Text("never ({rules})", "不允许({rules})"),
    "asks": Text("; asks people first ({rules})", ";须先经人员批准或联署({rules})"),
    "train": Text("training for {purpose}", "训练:{purpose}"),
    "query": Text("query for {purpose}", "查询:{purpose}"),
    "limits": Text("What may ever be spent", "隐私预算总上限"),
    "contract": Text("contract", "数据合约"),
    "unit": Text("unit", "单位"),
    "rows": Text("rows per unit", "每单位行数"),
    "window": Text("window", "核算周期"),
    "people": Text("people at most", "人数上限"),
    "undeclared": Text("not declared", "未声明"),
    "transfers": Text("Where results about persons may go", "涉及个人的结果可以去哪里"),
    "to": Text("to", "目的地"),
    "results": Text("results", "结果"),
    "aggregator": Text("aggregator", "聚合方"),
    "key": Text("key", "密钥"),
    "mechanism": Text("mechanism", "机制"),
    "law": Text("law", "法律依据"),
    "until": Text("until", "有效期至"),
    "needs": Text("needs, and what may change", "所需条件与待关注事项"),
    "none": Text("nothing on record", "无备案机制"),
    "export": Text(
        "People whose data left in {year}: at most {persons} of {limit} ({percent} %)",
        "{year} 年出境涉及的个人:最多 {persons} / {limit}({percent} %)",
    ),
    "export_near": Text(
        "Warning: {percent} % of the yearly number is used; from {warn} % on, put a stronger "
        "mechanism on record",
        "警告:已达年度人数的 {percent} %;自 {warn} % 起,请备案更强的机制",
    ),
    "no_key": Text(
        "Warning: {contract} names no key, so that a corrected row cannot be told from a new one; "
        "its rows are never new, and a new window opens no fresh account for them",
        "警告:{contract} 未声明 key,更正过的行与新行无从区分;其行从不算新行,新窗口不为其开启新账户",
    ),
    "export_unknown": Text(
        "Warning: no contract says how many people stand in: {groups}",
        "警告:以下主体的数据合约未声明人数:{groups}",
    ),
    "grades": Text("What each grade may serve", "各级别字段的用途"),
    "grade": Text("grade", "级别"),
    "clear": Text("in the clear", "明文"),
    "masked": Text("under a mask", "掩码后"),
    "never_used": Text("never", "禁止"),
    "rules": Text("Every rule that can refuse", "所有可能拒绝的规则"),
    "rule": Text("rule", "规则"),
    "says": Text("says", "内容"),
    "fix": Text("fix", "解决办法"),
    "sources": Text("Where these rules come from", "规则来源"),
    "source": Text(
        "{name}: {law}. As of {as_of}. Reviewed by: {reviewed}.",
        "{name}:{law}。截至 {as_of}。审阅:{reviewed}。",
    ),
    "other_edition": Text(
        "Warning: {file} was written from another edition of the pack, or changed since; the table "
        "of transfers above is the installed pack's",
        "警告:{file} 由该规则包的其他版本生成,或此后有改动;上方传输表来自已安装的规则包",
    ),
}


def said(word: str, language: Language, **facts: object) -> str:
    """Return the sentence called `word`, with its facts."""
    return WORDS[word].spoken(language).format(**facts)
