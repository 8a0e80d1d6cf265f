"""Evictions by the hundred: real programs run on the hosts of a cell, whose owners come back again and again.

Run as root inside h0, the jobs' home (scripts/bench soak, tests/e2e/clean.sh):
    soak.py --evictions N --cell DIR --groups DIR --work DIR --uid N --gid N

DIR of the cell holds one directory per host with owner/input, the file that stands for a keyboard; the groups
are the cell's in cgroup v2. Every program's output is compared with that of a run which never moved. Before and
after, the hosts are compared (traces.py): what jobs and moves could leave there must be as it was. In between the
daemons' memory and descriptors are sampled. Each figure is printed as "NAME VALUE"; exit status 1 says on stderr
what was not as it should be.
"""
import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time

import programs
import traces

CONCURRENT = 2  # jobs per executing host; as many as it has slots on two cores
SETTLE = 30  # seconds that everything may take to end after the last job
SPARE = 11  # seconds after which a starter that has served, and is not needed, is ended (hostd: kUnusedSpare)


class Job:
    """One `remote run` and what it said."""

    def __init__(self, soak, name, command, expected):
        self.name, self.expected = name, expected
        self.directory = f"{soak.work}/job{soak.started}"
        os.mkdir(self.directory)
        os.chown(self.directory, soak.uid, soak.gid)
        self.out, self.err = (open(f"{self.directory}/{n}", "wb+") for n in ("stdout", "stderr"))
        self.process = subprocess.Popen(soak.as_user(["remote", "run", *command]), cwd=self.directory,
                                        env={**os.environ, "TMPDIR": self.directory},
                                        stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.err)

    def finish(self):
        """What is wrong with it, and what it said; when it has ended."""
        texts = []
        for file in (self.out, self.err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
            file.close()
        wrong = ""
        if self.process.returncode != 0:
            wrong = f"{self.name} ended with {self.process.returncode}: {texts[1].strip()[-400:]}"
        elif texts[0] != self.expected:
            wrong = f"{self.name} printed {texts[0][:200]!r} instead of {self.expected[:200]!r}"
        subprocess.run(["rm", "-rf", self.directory], check=True)
        return wrong, texts[1]


class Soak:
    def __init__(self, options):
        self.work, self.uid, self.gid = options.work, options.uid, options.gid
        self.cell, self.groups, self.target = options.cell, options.groups, options.evictions
        self.hosts = sorted(d for d in os.listdir(self.cell) if re.fullmatch(r"h[1-9]\d*", d))
        self.random = random.Random(20)
        self.jobs, self.started, self.finished = [], 0, 0
        self.failures, self.refusals = [], {}
        self.evictions = self.outward = 0
        self.frozen_ms = []
        self.pressed = {}  # host -> when its owner comes next
        self.migrating = []
        self.samples = []

    def as_user(self, command):
        return ["setpriv", "--reuid", str(self.uid), "--regid", str(self.gid), "--clear-groups",
                "--inh-caps=-all", "--", *command]

    def ask(self, *command):
        done = subprocess.run(self.as_user(["remote", *command, "--json"]), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def press(self, host):
        os.utime(f"{self.cell}/{host}/owner/input")

    # -------------------------------------------------------------------------------- one round

    def begin_jobs(self, count):
        while len(self.jobs) < count:
            name, command, expected = self.programs[self.started % len(self.programs)]
            self.jobs.append(Job(self, name, command, expected))
            self.started += 1

    def end_jobs(self):
        for job in list(self.jobs):
            if job.process.poll() is None:
                continue
            self.jobs.remove(job)
            self.finished += 1
            wrong, said = job.finish()
            if wrong:
                self.failures.append(wrong)
            for source, target, frozen in re.findall(r"moved from (\S+) to (\S+) \(.*?\): frozen ([\d.]+) ms", said):
                if target == "h0":
                    self.evictions += 1
                    self.frozen_ms.append(float(frozen))
                else:
                    self.outward += 1
            for why in re.findall(r"could not be moved from \S+ to \S+: (.*)", said):
                self.refusals[why] = self.refusals.get(why, 0) + 1

    def move_some(self):
        """Sends out who is at home, and brings back the owners of those hosts that have had guests for a while."""
        hosts, jobs = self.ask("hosts"), self.ask("ps")
        if hosts is None or jobs is None:
            return
        now = time.monotonic()
        free = {h["name"]: h["slots"] - h["granted"] for h in hosts["hosts"]
                if h["name"] in self.hosts and h["state"] in ("IDLE", "PART_USED")}
        self.migrating = [m for m in self.migrating if m.poll() is None]
        for job in jobs["jobs"]:
            if job["state"] != "running" or job["guest"]:
                continue
            if job["host"] != "h0":
                self.pressed.setdefault(job["host"], now + self.random.uniform(0.0, 0.4))
                continue
            target = next((h for h in self.hosts if free.get(h, 0) > 0), None)
            if target:
                free[target] -= 1
                self.migrating.append(subprocess.Popen(
                    self.as_user(["remote", "migrate", job["id"], target]), stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        for host, when in list(self.pressed.items()):
            if now >= when:
                self.press(host)
                del self.pressed[host]

    def sample(self):
        self.samples.append((self.evictions, {n: traces.cost(p) for n, p in self.daemons.items()}))

    # -------------------------------------------------------------------------------- the whole

    def until(self, evictions):
        goal = self.evictions + evictions
        last, limit = (0, time.monotonic()), 120
        next_sample = 0
        while self.evictions < goal:
            self.begin_jobs(CONCURRENT * len(self.hosts))
            self.move_some()
            self.end_jobs()
            now = time.monotonic()
            if self.evictions != last[0]:
                last = (self.evictions, now)
            if now - last[1] > limit:
                return self.failures.append(f"no eviction in {limit} s; {self.evictions} so far")
            if now >= next_sample:
                next_sample = now + 1
                self.sample()
            if len(self.failures) > 5:
                return
            time.sleep(0.03)

    def drain(self):
        """No new jobs; those that run come to their end."""
        limit = time.monotonic() + 300
        while self.jobs and time.monotonic() < limit:
            self.end_jobs()
            time.sleep(0.05)
        if self.jobs:
            print(json.dumps(self.ask("ps"), indent=1), *traces.stuck(self.groups), sep="\n", file=sys.stderr)
        for job in self.jobs:
            self.failures.append(f"{job.name} has not ended: {job.process.args}")
            job.process.kill()
        for migrating in self.migrating:
            migrating.wait()

    def settled(self):
        """The hosts as they are without guests: an idle one would keep starters ready for guests to come."""
        for _ in range(10):  # as long as their owners are there none are made, and those that are there end
            for host in self.hosts:
                self.press(host)
            time.sleep(0.1)
        return traces.of_cell(self.cell, self.groups, self.hosts + ["h0"], self.work)

    def run(self):
        self.programs = programs.prepare(self.work, self.as_user)
        self.daemons = traces.daemons(self.cell)
        # Connections between hosts, and what is allocated once, come with the first moves.
        self.until(min(20, self.target))
        self.drain()
        for host in self.hosts:
            self.press(host)
        time.sleep(SPARE)
        before, begin, counted = self.settled(), time.monotonic(), self.evictions
        self.samples.clear()
        self.until(self.target)
        seconds = time.monotonic() - begin
        self.drain()
        limit = time.monotonic() + SETTLE
        after = self.settled()
        while traces.differences(before, after) and time.monotonic() < limit:
            after = self.settled()
        self.failures += traces.differences(before, after)
        moved = self.evictions - counted
        figures = {
            "evictions": moved, "sent_out_again": self.outward, "jobs": self.finished,
            "failures": len(self.failures), "seconds": round(seconds, 1),
            "evictions_per_s": round(moved / seconds, 1),
            "frozen_ms_median": statistics.median(self.frozen_ms or [0]),
            "left_on_hosts": len(traces.differences(before, after)),
            **self.growth(),
        }
        for name, value in figures.items():
            print(name, value)
        for why, count in sorted(self.refusals.items(), key=lambda r: -r[1]):
            print(f"tried again, {count} times: {why}", file=sys.stderr)
        for failure in self.failures:
            print(f"FAIL: {failure}", file=sys.stderr)
        return not self.failures

    def growth(self):
        """First and last quarter of the samples: memory in KiB, and descriptors, of each daemon."""
        quarter = max(1, len(self.samples) // 4)
        figures = {}
        if not self.samples:
            return figures
        for name in self.daemons:
            for index, what in enumerate(("rss_kib", "descriptors")):
                ends = [statistics.median(s[1][name][index] for s in part)
                        for part in (self.samples[:quarter], self.samples[-quarter:])]
                figures[f"{name}_{what}_first_quarter"], figures[f"{name}_{what}_last_quarter"] = ends
                # Descriptors come and go with the jobs of the moment; memory is kept by the allocator.
                allowed = max(1024, ends[0] * 0.10) if index == 0 else 3 * CONCURRENT * len(self.hosts)
                if self.target >= 200 and ends[1] > ends[0] + allowed:
                    self.failures.append(f"{what} of {name} grew from {ends[0]} to {ends[1]}")
        return figures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--evictions", type=int, required=True)
    for name in ("cell", "groups", "work"):
        parser.add_argument("--" + name, required=True)
    for name in ("uid", "gid"):
        parser.add_argument("--" + name, type=int, required=True)
    sys.exit(0 if Soak(parser.parse_args()).run() else 1)


main()
