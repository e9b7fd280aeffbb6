"""Reasons that are no rule's: an account that cannot pay, an order that contradicts itself."""

from dataclasses import replace

from federation.errors import OnePartyQueryError, SuspendedPartyError
from policies.engine import Reason
from policies.errors import InsufficientBudgetError, PolicyError
from policies.nearest import PRICE


def poor(why: InsufficientBudgetError) -> Reason:
    """Return why an account does not pay."""
    spelled = ".2f" if why.purse == "epsilon" else ".3g"
    spent, limit, asked, left = (
        format(number, spelled)
        for number in (why.spent, why.limit, why.requested, max(0.0, why.remaining))
    )
    return Reason(
        "BUDGET-001" if why.purse == "epsilon" else "BUDGET-002",
        "Privacy account" if why.purse == "epsilon" else "Privacy account, failure probabilities",
        f"The account of {why.scope} has spent or reserved {spent} of {limit}; "
        f"this asks for {asked} and {left} is left",
        f"{why.scope} 的隐私账户已用或已预留 {spent}(上限 {limit});本次需要 {asked},剩余 {left}",
        *_way_out(why),
        why.override,
    )


def _way_out(why: InsufficientBudgetError) -> tuple[str, str]:
    if why.override:
        return f"ask for {why.override}", f"请改为 {why.override}"
    if why.purse == "failures" or why.releases:
        return why.advice, "请减少发布次数,或改用不带失败概率的发布方式;增加噪声无济于事"
    return "wait for the next accounting window", "请等待下一个核算周期"


def made_already(reason: Reason) -> Reason:
    """Return the reason against giving out a release once more: its price cannot be lowered."""
    if not (reason.override or "").startswith(f"{PRICE}="):
        return reason
    return replace(
        reason,
        fix_en=f"ask for a fresh release: {reason.fix_en}",
        fix_zh=f"请申请一次新的发布:{reason.fix_zh}",
        override=None,
    )


def unapproved(order: str) -> Reason:
    """Return why a disclosure of membership waits: a person has to answer for it, by name."""
    return Reason(
        "APPROVAL-001",
        "Disclosure of membership; GDPR Art. 5(2) and 6, PIPL Art. 13 and 23",
        "It tells which people are in both sets, which no noise hides: a person of this party "
        "must approve it, with a legal basis",
        "该任务会透露哪些人同时在双方集合中,噪声无法遮盖:须由本方的一名人员附法律依据批准",
        f"let that person run `entrepot node approve FOLDER {order[:12]}` at this node",
        f"请该人员在本节点运行 `entrepot node approve FOLDER {order[:12]}`",
        None,
    )


def asked(order: str) -> Reason:
    """Return why an order waits: the node's policy has a person asked about it."""
    return Reason(
        "APPROVAL-002",
        "Policy of this node",
        "A person of this party is asked about such orders, and has not answered",
        "此类任务单须询问本方人员,其尚未答复",
        "let the order wait (approval.hours=24) and that person run "
        f"`entrepot node approve FOLDER {order[:12]}`",
        "请让任务单等待(approval.hours=24),并请该人员运行 "
        f"`entrepot node approve FOLDER {order[:12]}`",
        None,
    )


def uncountersigned(order: str) -> Reason:
    """Return why an order waits: the federation wants a second organisation to sign it."""
    return Reason(
        "APPROVAL-003",
        "Federation agreement, two organisations",
        "A member of another organisation than the proposer's has to sign such orders too",
        "此类任务单须由提出方以外机构的成员联署",
        "let the order wait (approval.hours=24) and a member run "
        f"`entrepot node countersign FOLDER {order[:12]}`",
        "请让任务单等待(approval.hours=24),并请一名成员运行 "
        f"`entrepot node countersign FOLDER {order[:12]}`",
        None,
    )


def declined() -> Reason:
    """Return why an order is refused: a person of this party said no."""
    return Reason(
        "APPROVAL-004",
        "Policy of this node",
        "A person of this party was asked, and said no",
        "已询问本方人员,其未予批准",
        "ask that person why; another order is judged anew",
        "请询问该人员原因;另行提出的任务单将重新评估",
        None,
    )


def stays(why: PolicyError) -> Reason:
    """Return why nothing leaves although the texts of the folder permit it."""
    return Reason(
        "BORDER-001",
        "Transfer mechanisms on record",
        f"This node's texts permit it, and nothing on record covers it: {why}",
        f"本节点的规则文本允许该请求,但没有已备案的传输机制:{why}",
        "let the node's operator put the mechanism into policy/pack.toml, then write its rules",
        "请节点运营方将传输机制写入 policy/pack.toml,然后重新生成规则",
        None,
    )


def isolating(why: OnePartyQueryError) -> Reason:
    """Return why a question could show the figures of fewer than three organisations."""
    return Reason(
        why.rule,
        "Joint questions",
        f"The question could show what too few organisations hold: {why}",
        f"该问题可能显示少于三个机构的数据:{why}",
        "ask what the sentence says instead, or leave that part of the question out",
        "请按说明改写问题,或删去该部分",
        None,
    )


def suspended(why: SuspendedPartyError) -> Reason:
    """Return why an order is refused that names a suspended member."""
    return Reason(
        "MEMBER-001",
        "Roster of members",
        f"The order names a member that takes part in nothing now: {why}",
        f"任务单涉及目前被暂停参与的成员:{why}",
        "propose it without that member, or when it was restored",
        "请在不包含该成员的情况下重新提出,或等待其恢复",
        None,
    )


def misstated(why: Exception) -> Reason:
    """Return why an order is none that could be judged."""
    return Reason(
        "ORDER-001",
        "Work order",
        f"The order does not hold together: {why}",
        f"任务单前后不一致:{why}",
        "let the proposer write it again with this node's contract at hand",
        "请提出方对照本节点的数据合约重新编写",
        None,
    )
