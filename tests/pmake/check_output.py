#!/usr/bin/env python3
"""Says what a trace or a page of pmake holds, one fact a line (of several traces, one a line, in turn), for trace_test.cc: check_output.py trace|page FILE.

What breaks a rule of the formats is a line that begins with "wrong"."""
import html.parser
import json
import sys


def check_trace(text):
    events = json.loads(text)["traceEvents"]
    bars = [e for e in events if e["ph"] == "X"]
    for what in ("process", "thread"):
        for e in sorted((e for e in events if e["name"] == what + "_name"), key=lambda e: (e["pid"], e["tid"])):
            where = f"{e['pid']}/{e['tid']}" if what == "thread" else e["pid"]
            print(f"{what} {where}: {e['args']['name']}")
    for e in bars:
        reason = f" ({e['args']['reason']})" if "reason" in e["args"] else ""
        print(f"bar {e['name']} {e['pid']}/{e['tid']} {e['cat']} {float(e['ts'])}+{float(e['dur'])}{reason}")

    bars_of = {}
    for e in bars:
        bars_of.setdefault(e["args"]["recipe"], []).append(e)

    def on_a_bar(e, recipe):
        return any(b["pid"] == e["pid"] and b["tid"] == e["tid"] and b["ts"] <= e["ts"] <= b["ts"] + b["dur"] + 1e-3
                   for b in bars_of[recipe])

    begins = {e["id"]: e for e in events if e["ph"] == "s"}
    ends = {e["id"]: e for e in events if e["ph"] == "f"}
    if begins.keys() != ends.keys():
        print("wrong: arrows without their other end")
    for number, begin in begins.items():
        end = ends[number]
        print(f"arrow {begin['name']} {begin['pid']}/{begin['tid']} {float(begin['ts'])} "
              f"to {end['pid']}/{end['tid']} {float(end['ts'])}")
        recipe = begin["args"]["recipe"]
        if not on_a_bar(begin, recipe) or not on_a_bar(end, recipe):
            print(f"wrong: arrow {number} ends on no bar")
    if any(e["ph"] not in "XMsf" for e in events):
        print("wrong: an event of an unknown phase")


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.scripts, self.inside, self.external = [], False, 0

    def handle_starttag(self, tag, attrs):
        self.external += sum(name in ("src", "href") for name, _ in attrs)
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "script"

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data


def check_page(text):
    page = Page()
    page.feed(text)
    data = json.loads(page.scripts[0])
    if "<" in page.scripts[0]:
        print("wrong: '<' in the data")
    stays = [stay for recipe in data["recipes"] for stay in recipe["s"]]
    if any(not 0 <= stay["h"] < len(data["hosts"]) or stay["f"] > stay["e"] for stay in stays):
        print("wrong: a stay on no host, or of no time")
    print(f"hosts: {len(data['hosts'])}\nrecipes: {len(data['recipes'])}\nstays: {len(stays)}")
    print(f"scripts: {len(page.scripts)}\nexternal: {page.external}")


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    with open(sys.argv[2], encoding="utf-8", newline="") as file:
        if sys.argv[1] == "page":
            check_page(file.read())
        else:
            for line in file:
                check_trace(line)
