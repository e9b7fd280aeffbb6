"""Epoch SecAgg written a second time from SPEC.md: pycryptodome, plain integers, no care for speed.

It shares with the product the test's source of entropy and nothing else. It makes the vectors:

    python -m tests.secagg_reference
"""

import hashlib
import hmac
import json
from pathlib import Path

from Crypto.Cipher import AES
from Crypto.Hash import SHA256
from Crypto.Protocol.DH import key_agreement
from Crypto.Protocol.KDF import HKDF
from Crypto.PublicKey import ECC
from Crypto.Signature import eddsa

from tests.seeded import SeededEntropy

FOLDER = Path(__file__).parent / "vectors" / "secagg"
P = 2**255 - 19
EARLY = ["node-002", "node-003", "node-004"]
REFUSED, PEER = "RefusedRequestError", "PeerProtocolError"
FORGED, FAULTY = "BadSignatureError", "FaultyPartyError"


def canon(value) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def expand(key: bytes, *info) -> bytes:
    """RFC 5869, 2.3, for one block."""
    return hmac.new(key, canon(info) + b"\x01", hashlib.sha256).digest()


def tagged(label: str, context: str, data: bytes) -> bytes:
    return sha(canon(["entrepot.secagg", label, context]) + data)


def stream(seed: bytes, count: int) -> bytes:
    return AES.new(seed, AES.MODE_CTR, nonce=b"", initial_value=bytes(16)).encrypt(bytes(count))


class Party:
    """One party with its keys; everything is made from a name, as the tests make it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.identity = eddsa.import_private_key(sha(b"identity " + name.encode()))
        secret = sha(f"agreement 1 {name}".encode())
        self.secret = ECC.construct(curve="Curve25519", seed=secret)
        self.public = self.secret.public_key().export_key(format="raw")
        self.verify = self.identity.public_key().export_key(format="raw")

    def sign(self, data: bytes) -> bytes:
        return eddsa.new(self.identity, "rfc8032").sign(data)


class Reference:
    """One round of one cohort. entropy: what each party draws, by party."""

    def __init__(self, case: dict) -> None:
        self.case = case
        self.n, self.c, self.t = case["n"], case["c"], case["t"]
        self.bits, self.d = case["ring_bits"], case["dimension"]
        self.names = [f"node-{number:03}" for number in range(self.n)]
        self.party = {name: Party(name) for name in self.names}
        self.terms = {
            "statement": "entrepot.secagg-round",
            "v": 1,
            "federation": "harbour",
            "roster": sha(b"roster").hex(),
            "epoch": 1,
            "session": case["session"],
            "round": case["round"],
            "parameters": {
                "organisations": self.n,
                "colluding": self.c,
                "threshold": self.t,
                "ring_bits": self.bits,
            },
            "dimension": self.d,
            "cohort": [
                [p.name, p.name, p.verify.hex(), p.public.hex()] for p in self.party.values()
            ],
        }
        self.digest = sha(canon(self.terms)).hex()
        self.drawn: dict[str, tuple[int, bytes, list[int]]] = {}

    def chain(self, a: str, b: str) -> bytes:
        """The chain key of a pair at this round."""
        one, two = self.party[a], self.party[b]
        shared = key_agreement(
            static_priv=one.secret, static_pub=two.secret.public_key(), kdf=lambda secret: secret
        )
        ends = sorted([[one.name, one.public.hex()], [two.name, two.public.hex()]])
        salt = canon(["harbour", self.terms["roster"], 1])
        info = canon(["entrepot.secagg", "pair", ends])
        key = HKDF(shared, 32, salt, SHA256, context=info)
        for _ in range(self.case["round"]):
            key = expand(key, "entrepot.secagg", "next")
        return key

    def pair_seed(self, a: str, b: str) -> bytes:
        return expand(self.chain(a, b), "entrepot.secagg", "mask", self.digest)

    def box_key(self, sender: str, receiver: str) -> bytes:
        key = self.chain(sender, receiver)
        return expand(key, "entrepot.secagg", "box", self.digest, sender, receiver)

    def draw(self, entropy: SeededEntropy, name: str) -> None:
        """A party's secrets in the order in which it draws them."""

        def element() -> int:
            while (value := int.from_bytes(entropy.bytes(32), "big") >> 1) >= P:
                pass
            return value

        secret, link = element(), entropy.bytes(32)
        self.drawn[name] = secret, link, [element() for _ in range(self.t - 1)]

    def share(self, dealer: str, receiver: str) -> bytes:
        secret, _, coefficients = self.drawn[dealer]
        x = self.names.index(receiver) + 1
        degrees = range(self.t - 1, 0, -1)
        value = secret + sum(a * x**k for k, a in zip(degrees, coefficients, strict=True))
        return (value % P).to_bytes(32, "big")

    def links(self, name: str) -> list[bytes]:
        """The links of all layers and the anchor after them."""
        chain = [self.drawn[name][1]]
        for _ in range(self.n - self.t):
            chain.append(tagged("link", "", chain[-1]))
        return chain

    def layer(self, name: str, k: int) -> list[int]:
        seed = expand(self.links(name)[k - 1], "entrepot.secagg", "layer", self.digest, k)
        octets = hashlib.shake_256(seed + bytes([k])).digest(self.d)
        return [octet - 256 * (octet > 127) for octet in octets]

    def mask(self, seed: bytes) -> list[int]:
        size = 2 if self.bits == 16 else 4
        octets = stream(seed, self.d * size)
        return [
            int.from_bytes(octets[at : at + size], "little") for at in range(0, len(octets), size)
        ]

    def masked(self, name: str) -> bytes:
        values = list(self.case["inputs"][name])
        terms = [(self.layer(name, k), 1) for k in range(1, self.n - self.t + 1)]
        self_seed = expand(self.secret(name), "entrepot.secagg", "self", self.digest)
        terms.append((self.mask(self_seed), 1))
        terms += [
            (self.mask(self.pair_seed(name, peer)), 1 if name < peer else -1)
            for peer in self.names
            if peer != name
        ]
        for mask, sign in terms:
            values = [value + sign * more for value, more in zip(values, mask, strict=True)]
        whole = sum(value % 2**self.bits << self.bits * at for at, value in enumerate(values))
        return whole.to_bytes((self.d * self.bits + 7) // 8, "little")

    def secret(self, name: str) -> bytes:
        return self.drawn[name][0].to_bytes(32, "big")

    def leaves(self, name: str) -> list[bytes]:
        return [
            tagged("leaf", self.digest, self.pair_seed(name, peer))
            for peer in self.names
            if peer != name
        ]

    def root(self, name: str) -> bytes:
        return tagged("pairs", self.digest, b"".join(self.leaves(name)))

    def upload(self, name: str) -> bytes:
        mine = tagged("self", self.digest, self.secret(name))[:16]
        rest = tagged("rest", self.digest, self.root(name) + self.links(name)[-1])[:16]
        boxes = b""
        for peer in self.names:
            if peer != name:
                box = AES.new(self.box_key(name, peer), AES.MODE_GCM, nonce=mine[:12])
                box.update(canon(["entrepot.secagg", "share", name, peer]))
                sealed, tag = box.encrypt_and_digest(self.share(name, peer))
                boxes += sealed + tag
        return self.message("upload", name, [], mine + rest + boxes + self.masked(name))

    def reveal(self, name: str, survivors: list[str]) -> bytes:
        dropped = [peer for peer in self.names if peer not in survivors]
        seeds = [self.pair_seed(name, peer) for peer in dropped]
        shown = b"".join((*seeds, *self.leaves(name), self.links(name)[-1]))
        return self.message("reveal", name, survivors, shown)

    def certify(self, name: str, survivors: list[str]) -> bytes:
        return self.message("certify", name, survivors, b"")

    def open(self, name: str, survivors: list[str]) -> bytes:
        keys = [self.box_key(peer, name) for peer in survivors if peer != name]
        shown = [self.share(name, name), *keys]
        dropped = self.n - len(survivors)
        if dropped < self.n - self.t:
            shown += [self.links(name)[dropped], self.root(name)]
        return self.message("open", name, survivors, b"".join(shown))

    def withdraw(self, name: str) -> bytes:
        return self.message("withdraw", name, [], b"")

    def message(self, kind: str, name: str, survivors: list[str], content: bytes) -> bytes:
        number = ["upload", "reveal", "certify", "open", "withdraw"].index(kind) + 1
        signature = self.party[name].sign(self.statement(kind, name, survivors, content))
        place = self.names.index(name).to_bytes(2, "big")
        return bytes((1, number)) + place + signature + content

    def statement(self, kind: str, name: str, survivors: list[str], content: bytes) -> bytes:
        dropped = [peer for peer in self.names if peer not in survivors]
        sets = sha(canon({"survivors": survivors, "dropped": dropped})).hex() if survivors else ""
        return canon(
            {
                "statement": f"entrepot.secagg-{kind}",
                "v": 1,
                "session": self.case["session"],
                "round": self.case["round"],
                "terms": self.digest,
                "party": name,
                "sets": sets,
                "content": sha(content).hex(),
            }
        )

    def request(self, kind: int, chosen: list[str], signers: list[str], **changes) -> bytes:
        dropped = [peer for peer in self.names if peer not in chosen]
        said = {
            "statement": "entrepot.secagg-request",
            "v": 1,
            "kind": kind,
            "terms": self.digest,
            "survivors": chosen,
            "dropped": dropped,
            "signers": signers,
        }
        head = canon(said | changes)
        signatures = b"".join(self.certify(name, chosen)[4:68] for name in signers)
        return len(head).to_bytes(4, "big") + head + signatures

    def run(self) -> dict:
        """All messages of the round, and its sum."""
        missing = self.case["missing"]
        survivors = [name for name in self.names if name not in missing]
        entropy = SeededEntropy(self.case["entropy"])
        for name in survivors:
            self.draw(entropy, name)
        surplus = range(len(missing) + 1, self.n - self.t + 1)
        total = [0] * self.d
        for name in survivors:
            kept = [self.layer(name, k) for k in range(1, self.n - self.t + 1) if k not in surplus]
            for more in (self.case["inputs"][name], *kept):
                total = [one + other for one, other in zip(total, more, strict=True)]
        half = 2 ** (self.bits - 1)
        return {
            "terms": self.digest,
            "upload": [self.upload(name).hex() for name in survivors],
            "reveal": [self.reveal(name, survivors).hex() for name in survivors],
            "certify": [self.certify(name, survivors).hex() for name in survivors],
            "open": [self.open(name, survivors).hex() for name in survivors],
            "requests": [
                self.request(kind, survivors, survivors[: self.t] if kind == 4 else []).hex()
                for kind in (2, 3, 4)
            ],
            "sum": [(value + half) % (2 * half) - half for value in total],
        }


def cases() -> list[dict]:
    shapes = [
        ("three, nobody lost", 3, 1, 3, 32, 4, 0, []),
        ("four, one lost, sixteen bits", 4, 1, 3, 16, 5, 2, ["node-001"]),
        ("five, nobody lost, twenty bits, odd", 5, 2, 4, 20, 3, 1, []),
        ("eight, two lost, twenty bits", 8, 1, 5, 20, 6, 4, ["node-000", "node-007"]),
        ("eight, three lost, a ring that wraps", 8, 1, 5, 16, 2, 0, EARLY),
    ]  # fmt: skip
    made = []
    for index, (name, n, c, t, bits, d, number, missing) in enumerate(shapes):
        entropy = SeededEntropy(1000 + index)
        case = {
            "name": name, "n": n, "c": c, "t": t, "ring_bits": bits, "dimension": d,
            "session": f"order-{index}", "round": number, "missing": missing, "entropy": index,
            "inputs": {
                f"node-{party:03}": [
                    int.from_bytes(entropy.bytes(2), "big", signed=True) for _ in range(d)
                ]
                for party in range(n)
            },
        }  # fmt: skip
        made.append({**case, **Reference(case).run()})
    return made


def bad_requests(case: dict) -> list[dict]:
    """Requests to node-000 of a case, after its upload."""
    made = Reference(case)
    names, few = made.names, made.names[: made.t - 1]
    good = made.request(4, names, names[: made.t])
    table = [
        ("a set below the threshold, in A", made.request(2, few, []), REFUSED),
        ("a set below the threshold, to certify", made.request(3, few, []), REFUSED),
        ("everybody else dropped out", made.request(2, names[:1], []), REFUSED),
        ("one left out", made.request(2, names, [], survivors=names[:-1]), REFUSED),
        ("one in both sets", made.request(2, names, [], dropped=names[:1]), REFUSED),
        ("one twice", made.request(3, names, [], survivors=[*names, names[1]]), REFUSED),
        ("a stranger dropped", made.request(2, names, [], dropped=["stranger"]), REFUSED),
        ("node-000 dropped", made.request(3, names[1:], []), REFUSED),
        ("no certificate", made.request(4, names, []), REFUSED),
        ("a certificate of too few", made.request(4, names, names[: made.t - 1]), REFUSED),
        ("one signer twice", made.request(4, names, [*names[: made.t - 1], names[0]]), REFUSED),
        ("a signer of the dropped", made.request(4, names[:-1], names[1:]), REFUSED),
        ("a certificate for another set", _swapped(made), FORGED),
        ("another round's terms", made.request(2, names, [], terms="0" * 64), PEER),
        ("a kind that nobody asks", made.request(1, names, []), PEER),
        ("another version", made.request(2, names, [], v=2), PEER),
        ("a field more", made.request(2, names, [], more=1), PEER),
        ("a signature that is cut", good[:-1], PEER),
        ("bytes left over", good + b"\0", PEER),
        ("nothing", b"", PEER),
    ]  # fmt: skip
    return [{"name": name, "wire": wire.hex(), "error": error} for name, wire, error in table]


def _swapped(made: Reference) -> bytes:
    names = made.names
    one, other = (made.request(4, u, names[: made.t]) for u in (names, names[:-1]))
    return one[: -64 * made.t] + other[-64 * made.t :]


def bad_messages(case: dict) -> list[dict]:
    """Uploads to an aggregator that collects a case."""
    made = Reference(case)
    entropy = SeededEntropy(case["entropy"])
    for name in made.names:
        made.draw(entropy, name)
    good = made.upload("node-000")
    content = good[68:]

    def signed(changed: bytes) -> bytes:
        return made.message("upload", "node-000", [], changed)

    replayed = Reference({**case, "round": case["round"] + 1})
    replayed.drawn = made.drawn
    other = Reference({**case, "ring_bits": 32})
    other.drawn = made.drawn
    table = [
        ("a byte of the vector changed", good[:-1] + bytes([good[-1] ^ 1]), FORGED),
        ("a sealed share changed", good[:101] + bytes([good[101] ^ 1]) + good[102:], FORGED),
        ("another sender", good[:3] + b"\x01" + good[4:], FORGED),
        ("another round's upload", replayed.upload("node-000"), FORGED),
        ("an upload in another ring", other.upload("node-000"), FORGED),
        ("a withdrawal", bytes([1, 1]) + made.withdraw("node-000")[2:], FORGED),
        ("a vector that is cut", signed(content[:-1]), FAULTY),
        ("a sealed share that is cut", signed(content[:40] + content[41:]), FAULTY),
        ("a vector that is too long", signed(content + b"\0"), FAULTY),
        ("padding that is not zero", signed(content[:-1] + bytes([content[-1] | 0x80])), FAULTY),
        ("no content", signed(b""), FAULTY),
        ("nobody in the cohort", good[:2] + b"\xff\xff" + good[4:], PEER),
        ("another version", b"\x02" + good[1:], PEER),
        ("an unknown kind", b"\x01\x00" + good[2:], PEER),
        ("an answer in B while collecting", made.open("node-000", made.names), PEER),
        ("too short for a signature", good[:67], PEER),
    ]  # fmt: skip
    return [{"name": name, "wire": wire.hex(), "error": error} for name, wire, error in table]


def bad_parameters() -> list[dict]:
    table = [
        ("nobody colludes", 8, 0, 5, 32), ("half is not more than half", 8, 1, 4, 32),
        ("sized for one colluder, with three", 8, 3, 5, 32), ("more than there are", 8, 1, 9, 32),
        ("two organisations", 2, 1, 2, 32), ("one honest input", 3, 2, 3, 32),
        ("everybody colludes", 4, 4, 4, 32), ("a ring of 24 bits", 8, 1, 5, 24),
        ("a ring of 64 bits", 8, 1, 5, 64), ("a negative threshold", 8, 1, -5, 32),
    ]  # fmt: skip
    names = ("name", "organisations", "colluding", "threshold", "ring_bits")
    return [dict(zip(names, row, strict=True)) for row in table]


def make() -> dict[str, list[dict]]:
    """Every file of vectors by name."""
    good = cases()
    odd = good[2]
    return {
        "good": good,
        "bad_requests": bad_requests(odd),
        "bad_messages": bad_messages(odd),
        "bad_parameters": bad_parameters(),
    }


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for title, rows in make().items():
        text = json.dumps(rows, indent=1, ensure_ascii=False)
        (FOLDER / f"{title}.json").write_text(text + "\n", encoding="utf-8")
