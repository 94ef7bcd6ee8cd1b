#!/usr/bin/env python3
"""Holds the program `aggregate` against an implementation of its own.

    cargo build --release --examples
    python3 examples/oracle/aggregate.py target/release/examples/aggregate 5000 [SEED]

Each case is an input and options, both made up. The numbers here are exact
fractions; nothing is shared with the program but what `--help` says.
"""
import concurrent.futures, csv, gzip, io, json, random, re, subprocess, sys
from fractions import Fraction

NUMBER = re.compile(rb"([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?(.*)", re.S)
UNITS = {b"": 1, b"k": 10**3, b"K": 10**3}
UNITS |= {name: 1000 ** (at + 2) for at, name in enumerate([b"M", b"G", b"T", b"P", b"E"])}
UNITS |= {name: 1024 ** (at + 1) for at, name in enumerate([b"Ki", b"Mi", b"Gi", b"Ti", b"Pi", b"Ei"])}
UNITS[b"ki"] = 1024
LIMIT = 2**127


def normal(value):
    """The digits and decimals of a finite decimal."""
    scale, number = 0, value
    while number.denominator != 1:
        number, scale = number * 10, scale + 1
    return number.numerator, scale


def fits(value):
    digits, scale = normal(value)
    return abs(digits) < LIMIT and scale <= 30


def parse(text, units):
    """The value, or None."""
    sign, whole, part, exponent, rest = NUMBER.fullmatch(text).groups()
    part = part or b""
    if not whole and not part:
        return None
    factor = 1
    if rest:
        unit = rest.lstrip(b" ")
        if not units or not unit:
            return None
        factor = UNITS.get(unit[:-1] if unit.endswith(b"B") else unit)
        if factor is None:
            return None
    part = part.rstrip(b"0")
    digits = int(whole + part) * factor
    if digits >= LIMIT:
        return None
    exponent = int(exponent or 0)
    if digits and abs(exponent) > 200:
        return None
    value = Fraction(digits) * Fraction(10) ** (exponent - len(part)) if digits else Fraction(0)
    value = -value if sign == b"-" else value
    return value if fits(value) else None


def show(value):
    digits, scale = normal(value)
    text = str(abs(digits)).rjust(scale + 1, "0")
    text = text if scale == 0 else text[:-scale] + "." + text[-scale:]
    return "-" + text if digits < 0 else text


def aggregate(values, agg):
    if agg == "sum":
        return sum(values)
    if agg == "count":
        return Fraction(len(values))
    if agg == "min":
        return min(values)
    if agg == "max":
        return max(values)
    if agg == "mean":
        # Six decimals more than the sum, or as many as 38 digits and a bit have room for.
        digits, scale = normal(sum(values))
        places = scale + max(more for more in range(7) if abs(digits) * 10**more < LIMIT)
        return Fraction(round(sum(values) * 10**places / len(values)), 10**places)
    rank = -(-len(values) * int(agg[1:]) // 100)
    return sorted(values)[rank - 1]


def fields(case, line):
    kind = case["kind"]
    if kind == "colon":
        return line.rsplit(b":", 1) if b":" in line else None
    if kind == "spaces":
        return [field for field in re.split(rb"[ \t]+", line) if field]
    if kind == "separator":
        return line.split(case["separator"])
    if kind in ("csv", "tsv"):
        if line.count(b'"') % 2:
            return None
        text = line.decode("latin-1")
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=case["separator"].decode()))
        return [field.encode("latin-1") for field in rows[0]] if rows else None
    try:
        found = json.loads(line, parse_float=str, parse_int=str)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    return {name: value for name, value in found.items()}


def expected(case):
    groups, malformed, lines = {}, 0, 0
    all_lines = case["input"].split(b"\n")
    if all_lines[-1] == b"":
        all_lines.pop()
    columns = case["columns"]
    for number, line in enumerate(all_lines):
        lines += 1
        line = line[:-1] if line.endswith(b"\r") else line
        if case["header"] and number == 0:
            continue
        if case["comment"] and line.startswith(case["comment"]):
            continue
        found = fields(case, line) if line else None
        values, key = [], None
        if found is not None:
            if case["kind"] == "jsonl":
                found = [found.get(name) for name in columns]
                found = [it.encode() if isinstance(it, str) else None for it in found]
            else:
                found = [found[at] if at < len(found) else None for at in columns]
            if None not in found:
                found = [it.strip(b" \t\n\r\x0c") for it in found] if case["trim"] else found
                key, values = found[0], [parse(it, case["units"]) for it in found[1:]]
        if not key or None in values:
            malformed += 1
            continue
        for at, value in enumerate(values or [Fraction(0)]):
            groups.setdefault(key, {}).setdefault(at, []).append(value)
    for of in groups.values():
        for values in of.values():
            scale = max(normal(value)[1] for value in values)
            if sum(abs(value) for value in values) * 10**scale >= LIMIT:
                return lines, malformed, None
    rows = []
    for key, of in groups.items():
        rows.append((key, [aggregate(of[at], agg) for at in sorted(of) for agg in case["aggs"]]))
    rows.sort(key=lambda row: row[0])
    if case["sort"] == "key-down":
        rows.reverse()
    if case["sort"] in ("largest", "smallest"):
        rows.sort(key=lambda row: row[1][0], reverse=case["sort"] == "largest")
    rows = rows[: case["top"]] if case["top"] is not None else rows
    return lines, malformed, [(key, [show(value) for value in values]) for key, values in rows]


def number(random, units):
    kind = random.randrange(10)
    if kind == 0:
        return random.choice([b"", b"-", b".", b"1.", b".5", b"+.5e1", b"x", b"1x", b"0x10", b"1_0", b"1e", b"--1", b"NaN", b"inf", b"1e400", b"9" * 45, b"1e-31", b"10e-19", "٣".encode()])
    digits = str(random.randrange(10 ** random.randrange(1, 16)))
    if kind < 6:
        digits += "." + str(random.randrange(10 ** random.randrange(1, 8)))
    if kind == 7:
        digits += random.choice("eE") + random.choice(["", "+", "-"]) + str(random.randrange(6))
    if units and kind > 4:
        digits += random.choice(["", " "]) + random.choice(["k", "K", "M", "G", "Ki", "Mi", "B", "kB", "GiB", "", "m"])
    return (random.choice(["", "", "-", "+"]) + digits).encode()


def make(seed):
    rng = random.Random(seed)
    kind = rng.choice(["colon", "spaces", "separator", "csv", "csv", "tsv", "jsonl"])
    case = {"kind": kind, "seed": seed}
    case["separator"] = {"separator": rng.choice([b";", b"::", b"|", b", "]), "tsv": b"\t"}.get(kind, b",")
    case["header"] = kind in ("spaces", "separator", "csv", "tsv") and rng.random() < 0.5
    case["comment"] = rng.choice([None, None, b"#", b"//"])
    case["trim"], case["units"] = rng.random() < 0.4, rng.random() < 0.4
    names = ["sum", "count", "min", "max", "mean", "p50", "p99", "p1", "p100"]
    case["aggs"] = rng.sample(names, rng.randrange(1, 5))
    case["sort"] = rng.choice(["largest", "smallest", "key", "key-down"])
    case["top"] = rng.choice([None, None, 3])
    count = 2 if kind == "colon" else rng.randrange(2, 5)
    at = list(range(count))
    if kind != "colon":
        rng.shuffle(at)
        at = at[: rng.randrange(2, count + 1)]
    bad = b"\xff\xfe" if kind != "jsonl" else "é".encode()
    keys = [b"a", b"b", b" c ", "clé".encode(), b"key 7" if kind != "spaces" else b"key7", bad, b"", b"#x", b"//", b"a,b" if kind == "csv" else b"ab"]
    lines = []
    for _ in range(rng.randrange(40)):
        cells = [number(rng, case["units"]) for _ in range(count)]
        cells[at[0]] = rng.choice(keys)
        if rng.random() < 0.05:
            cells = cells[:1]
        if kind in ("csv", "tsv"):
            quote = lambda it: b'"' + it.replace(b'"', b'""') + b'"'
            cells = [quote(it) if case["separator"] in it or rng.random() < 0.1 else it for it in cells]
            cells = [it + b'"' if rng.random() < 0.01 else it for it in cells]
        if kind == "jsonl":
            made = {}
            for index, it in enumerate(cells):
                is_number = re.fullmatch(rb"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", it)
                made[f"c{index}"] = "\x00" + it.decode() if is_number and rng.random() < 0.7 else it.decode()
            line = re.sub(r'"\\u0000([^"]*)"', r"\1", json.dumps(made, ensure_ascii=rng.random() < 0.5)).encode()
            line = line[:-1] if rng.random() < 0.03 else line
        else:
            line = {"colon": b":", "spaces": rng.choice([b" ", b"\t", b"  "])}.get(kind, case["separator"]).join(cells)
        lines.append(line + (b"\r" if rng.random() < 0.05 else b""))
    if case["header"]:
        glue = b" " if kind == "spaces" else case["separator"]
        lines.insert(0, glue.join(b"c%d" % index for index in range(count)))
    case["input"] = b"\n".join(lines) + (b"\n" if lines and rng.random() < 0.9 else b"")
    case["columns"] = [f"c{index}" for index in at] if kind == "jsonl" else at
    args = ["--agg", ",".join(case["aggs"]), "--sort", case["sort"]]
    named = kind == "jsonl" or case["header"] and rng.random() < 0.7
    if kind != "colon":
        shown = [f"c{index}" if named else str(index + 1) for index in at]
        args += ["--key", shown[0], "--value", ",".join(shown[1:])]
    args += {"csv": ["--from", "csv"], "tsv": ["--from", "tsv"], "jsonl": ["--from", "jsonl"]}.get(kind, [])
    args += ["--separator", case["separator"].decode()] if kind == "separator" else []
    args += [f"--{name}" for name in ("header", "trim", "units") if case[name]]
    args += ["--comment", case["comment"].decode()] if case["comment"] else []
    args += ["--top", str(case["top"])] if case["top"] is not None else []
    args += ["--workers", str(rng.randrange(1, 4))]
    case["form"] = rng.choice(["json", "lines", "csv"])
    args += [] if case["form"] == "lines" else ["--" + case["form"]]
    case["args"], case["gzip"] = args, rng.random() < 0.2
    return case


def escaped(key):
    return key.decode("utf-8", "backslashreplace")


def check(program, seed):
    case = make(seed)
    fed = gzip.compress(case["input"]) if case["gzip"] else case["input"]
    ran = subprocess.run([program, *case["args"]], input=fed, capture_output=True)
    lines, malformed, rows = expected(case)
    told = re.search(rb"aggregate: (\d+) of (\d+) lines malformed", ran.stderr)
    wrong = []
    # Sums of more digits than that are refused.
    if rows is None or b"more digits than can be added up exactly\n" in ran.stderr[-60:]:
        return None if rows is None else f"case {seed}: too many digits?\n{ran.stderr}"
    if ran.returncode != (1 if lines and lines == malformed else 0):
        wrong.append(f"exit {ran.returncode}")
    if (int(told[1]) if told else 0) != malformed:
        wrong.append(f"malformed {told and told[1]} for {malformed}")
    if not ran.stdout:
        got = want = b""
        wrong += ["nothing printed"] if rows or case["form"] == "json" else []
    elif case["form"] == "json":
        made = json.loads(ran.stdout, parse_float=str, parse_int=str)
        got = [(group["key"] if "key" in group else next(iter(group.values())), list(group.values())[1:]) for group in made["groups"]]
        want = [(escaped(key), values) for key, values in rows]
    elif case["form"] == "csv":
        text = ran.stdout.decode("latin-1")
        got = [(row[0], row[1:]) for row in list(csv.reader(io.StringIO(text, newline="")))[1:]]
        want = [(key.decode("latin-1"), values) for key, values in rows]
    else:
        got = ran.stdout
        glue = lambda values: b":" if len(values) == 1 else b"\t"
        want = b"".join(key + glue(v) + glue(v).join(it.encode() for it in v) + b"\n" for key, v in rows)
    if got != want:
        wrong.append(f"got {got!r}\nfor {want!r}")
    return f"case {seed}: {wrong}\n{case}\n{ran.stderr}" if wrong else None


def main():
    program, count = sys.argv[1], int(sys.argv[2])
    first = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        failed = [it for it in pool.map(lambda at: check(program, at), range(first, first + count)) if it]
    for it in failed[:5]:
        print(it)
    print(f"{len(failed)} of {count} wrong")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
