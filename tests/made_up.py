"""A made-up outcome of a demo, so that reports can be looked at without running one."""

from dataclasses import replace

from experiments.outcome import (
    Budget,
    Crossing,
    LastEntry,
    Ledger,
    LogKept,
    Node,
    Opened,
    Opening,
    Outcome,
    PartyScores,
    PersonAt,
    Plain,
    Query,
    Reason,
    Refusal,
    Registered,
    Scores,
    Search,
    Step,
    Text,
    Training,
    Unit,
)

NODES = (
    Node("warehouse-cn", "warehouse", "CN", 4101),
    Node("warehouse-eu", "warehouse", "EU", 4102),
    Node("warehouse-uk", "warehouse", "UK", 4103),
    Node("warehouse-us", "warehouse", "US", 4104),
    Node("payments-eu", "payment_partner", "EU", 4105),
    Node("payments-cn", "payment_partner", "CN", 4106),
    Node("merchant-uk", "merchant", "UK", 4107),
    Node("merchant-br", "merchant", "BR", 4108),
    Node("keyholder-ch", "keyholder", "CH", 4109),
    Node("keyholder-eu", "keyholder", "EU", 4110),
    Node("keyholder-uk", "keyholder", "UK", 4111),
    Node("aggregator", "aggregator", "EU", 4100),
)

DEMAND = Training(
    overall=Scores(0.402, 0.281, 0.229, 0.221, 0.212),
    parties=(
        PartyScores("warehouse-cn", Scores(0.371, 0.224, 0.221, 0.214, 0.210)),
        PartyScores("warehouse-eu", Scores(0.388, 0.219, 0.223, 0.213, 0.209)),
        PartyScores("warehouse-uk", Scores(0.502, 0.311, 0.254, 0.241, 0.232)),
        PartyScores("warehouse-us", Scores(0.379, 0.231, 0.226, 0.217, 0.211)),
    ),
    epsilon=4,
    delta=1e-6,
    unit=Unit.RETAILER_WEEK,
    data=Text(
        "cheese: weekly sales of 88 retailers, public",
        "cheese：88 家零售商的每周销量，公开数据",
    ),
    newcomer="warehouse-uk",
    rounds=8,
    survivors=(4,) * 8,
    colluding=1,
)

FRAUD = Training(
    overall=Scores(0.021, 0.236, 0.301, 0.352, 0.377),
    parties=(
        PartyScores("payments-eu", Scores(0.024, 0.261, 0.318, 0.361, 0.381)),
        PartyScores("payments-cn", Scores(0.018, 0.252, 0.309, 0.355, 0.380)),
        PartyScores("merchant-uk", Scores(0.022, 0.224, 0.291, 0.348, 0.372)),
        PartyScores("merchant-br", Scores(0.020, 0.201, 0.284, 0.341, 0.370)),
    ),
    epsilon=2,
    delta=1e-6,
    unit=Unit.CUSTOMER,
    data=Text(
        "generated commerce, size small",
        "生成的商业数据，规模 small",
    ),
    rounds=6,
    survivors=(4, 4, 4, 3, 4, 4),
    colluding=1,
)

QUERIES = (
    Query(
        sql="SELECT category, SUM(amount) AS spent, COUNT(*) AS orders FROM orders "
        "GROUP BY category",
        rows=(
            {"category": "home", "spent": 812_345.5, "orders": 10_412},
            {"category": "toys", "spent": 402_118.0, "orders": 7_733},
            {"category": "apparel", "spent": 655_201.2, "orders": 9_126},
            {"category": "<b>&odd", "spent": 91_020.4, "orders": 1_208},
        ),
        error=({"spent": 14_200.0, "orders": 61},) * 4,
        exact_for_demo=(
            {"category": "home", "spent": 806_120.25, "orders": 10_377},
            {"category": "toys", "spent": 410_998.5, "orders": 7_751},
            {"category": "apparel", "spent": 651_420.0, "orders": 9_101},
            {"category": "<b>&odd", "spent": 112_004.0, "orders": 1_222},
        ),
        epsilon=0.3,
    ),
    Query(
        sql="SELECT AVG(amount) AS mean FROM orders WHERE first_order = 1",
        rows=({"mean": 71.42},),
        error=({"mean": 1.91},),
        exact_for_demo=({"mean": 70.88},),
        epsilon=0.2,
    ),
)

REFUSALS = (
    Refusal(
        node="merchant-br",
        kind="policy",
        reasons=(
            Reason(
                "BR-002",
                Text(
                    "Marketing is not a purpose these records were collected for",
                    "营销不属于收集这些记录时的目的",
                ),
                "LGPD Art. 6",
            ),
        ),
        fix=Text("ask for market statistics instead", "请改为市场统计目的"),
        asked="SELECT AVG(amount) AS mean FROM orders  (purpose=marketing)",
        passed="SELECT AVG(amount) AS mean FROM orders  (purpose=market_statistics)",
    ),
    Refusal(
        node="payments-cn",
        kind="budget",
        reasons=(
            Reason(
                "budget",
                Text(
                    "This run needs ε 8 and 1.1200 is left of 3.4",
                    "本次运行需要 ε 8，上限 3.4 仅剩 1.1200",
                ),
            ),
        ),
        fix=Text("ask for at most ε 1.1 with one release", "请求至多 ε 1.1 且仅一次发布"),
        asked="train fraud privacy.epsilon=8",
    ),
)


BEGUN = 1_793_000_000

TRADE = Budget(
    node="",
    dataset="demand",
    unit=Unit.RETAILER_WEEK,
    epsilon=4.0,
    delta=1e-6,
    limit=8.0,
    releases=8,
    subjects="retailers",
    window="2025",
    certificate=3.7512,
    lifetime=4.0,
    runs_left=2,
    plain=Plain(7, 0.663, 56, 0.982, "pld"),
    course=(Step(BEGUN, 4.0),),
)

PEOPLE = Budget(
    node="",
    dataset="orders",
    unit=Unit.CUSTOMER,
    epsilon=2.2781,
    delta=1e-6,
    limit=3.4,
    releases=4,
    pending=0.2,
    subjects="customers",
    window="2025",
    certificate=None,
    lifetime=2.9012,
    failures_spent="0.0000000002",
    failures_limit="0.000000001",
    runs_left=100,
    runs_more=True,
    plain=Plain(4, 0.612, 10, 0.907, "rdp"),
    person=(
        PersonAt(1, 2.2781, 2.2781),
        PersonAt(2, 3.3011, 4.5123),
        PersonAt(3, 4.1401, None),
        PersonAt(8, 7.0, None),
    ),
    course=(Step(BEGUN, 2.0), Step(BEGUN + 40, 2.1612), Step(BEGUN + 44, 2.2781)),
)


def _budgets() -> tuple[Budget, ...]:
    demand = [replace(TRADE, node=node.party) for node in NODES[:4]]
    orders = [
        replace(PEOPLE, node=node.party, epsilon=0.3712 if place < 4 else 2.2781)
        for place, node in enumerate(NODES[:8])
    ]
    return (*demand, *orders)


LEDGER = Ledger(
    logs=tuple(LogKept(node.party, 24, ("Lyon Paiements", "Alp Keys"), True) for node in NODES),
    verdict=Text("authentic and complete: 10 logs, 240 entries", "真实且完整：10 份日志、240 条"),
    code=0,
    export="entrepot-ledger.json",
    trust="entrepot-trust.txt",
    last=(
        LastEntry(
            "merchant-br",
            23,
            BEGUN + 44,
            "closed",
            Text("the order <i>x</i> was closed", "任务单 <i>x</i> 已关闭"),
        ),
    ),
    register=(Registered("BR", "EU", "train.update", "BR-004 <dp>", 6, 124_800),),
)


def _traffic() -> tuple[Crossing, ...]:
    found = []
    for node in NODES[:8]:
        trains = "demand" if node.role == "warehouse" else "fraud"
        rounds = 8 if trains == "demand" else 6
        there, back = ("aggregator", node.party), (node.party, "aggregator")
        for (sender, recipient), kind, messages, size in (
            (there, "order.offer", 4, 9_200),
            (back, "order.accepted", 4, 2_100),
            (there, "train.round", rounds, rounds * 21_000),
            (back, "train.update", rounds, rounds * 20_800),
            (there, "query.commit", 2, 1_300_000),
            (back, "query.revealed", 2, 690_000),
        ):
            found.append(_crossing(sender, recipient, kind, messages, size))
    for keyholder in ("keyholder-ch", "keyholder-eu"):
        found.append(_crossing("aggregator", keyholder, "query.open", 2, 6_900_000))
        found.append(_crossing(keyholder, "aggregator", "query.opened", 2, 700_000))
    found.append(_crossing("merchant-br", "aggregator", "order.refused", 1, 900))
    return tuple(found)


def _crossing(sender: str, recipient: str, kind: str, messages: int, size: int) -> Crossing:
    places = {node.party: node.jurisdiction for node in NODES}
    return Crossing(sender, recipient, places[sender], places[recipient], kind, messages, size)


OUTCOME = Outcome(
    demand=DEMAND,
    fraud=FRAUD,
    queries=QUERIES,
    refusals=REFUSALS,
    budgets=_budgets(),
    nodes=NODES,
    traffic=_traffic(),
    search=Search(160, 214, 20_062_360, 0, (), 1.5e-4),
    seconds=96.4,
    notes=(Text("This outcome is made up for tests.", "此结果为测试而虚构。"),),
    version="0.1.0",
    ledger=LEDGER,
    opening=Opening(
        threshold=2,
        keyholders=("keyholder-ch", "keyholder-eu", "keyholder-uk"),
        killed="keyholder-uk",
        keys=4,
        questions=(
            Opened(("keyholder-ch", "keyholder-eu"), 6, 9.1, 4.2),
            Opened(("keyholder-ch", "keyholder-eu"), 6, 7.4, 4.0),
        ),
    ),
)

LEAKING = replace(
    OUTCOME, search=replace(OUTCOME.search, found=(("warehouse-cn", "4711000012345678"),))
)
