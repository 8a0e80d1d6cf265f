"""What jobs and moves could leave on the hosts of a cell."""
import collections
import glob
import os
import re


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def links(pid):
    """What the descriptors of a process are, without the numbers that differ from one to the next."""
    found = []
    for fd in glob.glob(f"/proc/{pid}/fd/*"):
        try:
            found.append(re.sub(r"\d+", "N", os.readlink(fd)))
        except OSError:
            pass  # closed meanwhile
    return sorted(found)


def daemons(cell):
    """Name of the node -> process id of its daemon."""
    return {os.path.basename(os.path.dirname(f)): int(read(f).split()[0]) for f in glob.glob(f"{cell}/*/pid")}


def cost(pid):
    """Resident memory in KiB and the number of descriptors."""
    rss = re.search(r"VmRSS:\s+(\d+)", read(f"/proc/{pid}/status"))
    return int(rss.group(1)) if rss else 0, len(links(pid))


def processes(group):
    pids = []
    for directory, _, _ in os.walk(group):
        pids += read(directory + "/cgroup.procs").split()
    return pids


def stuck(group):
    """Each thread in a group in one line: what it is, what it waits for. For people who look for what hangs."""
    lines = []
    for pid in processes(group):
        for task in sorted(glob.glob(f"/proc/{pid}/task/*")):
            status = dict(line.split(":\t", 1) for line in read(task + "/status").splitlines() if ":\t" in line)
            policy = re.search(r"policy\s*:\s*(\d+)", read(task + "/sched"))
            waits = [line.split()[-1] for line in read(task + "/stack").splitlines()[:4]]
            lines.append(f"{pid}/{os.path.basename(task)} {status.get('Name')} in {read(task + '/cgroup').split('::')[-1].strip()}: "
                         f"{status.get('State')}, traced by {status.get('TracerPid')}, policy {policy and policy.group(1)}, "
                         f"{read(task + '/syscall').strip()[:60]}, {' < '.join(waits)}")
    return lines


def of_host(cell, groups, host):
    pid = daemons(cell)[host]
    group = f"{groups}/{host}"
    inside = [p for p in processes(group) if read(f"/proc/{p}/comm")]
    found = {
        # Jobs' own commands at home are `remote`, below this very script, and not the daemon's.
        "processes": sorted(read(f"/proc/{p}/comm").strip() for p in inside),
        "control groups": sorted(re.sub(r"\d+-\d+$", "N", d) for d, _, _ in os.walk(group)),
        "mounts": sorted(" ".join(line.split()[i] for i in (4, -3)) for line in
                         read(f"/proc/{pid}/mountinfo").splitlines()),
        "descriptors of the daemon": links(pid),
        "memory files": sorted(f for p in inside for f in links(p) if "memfd:" in f),
        "listening sockets": sorted(line.split()[1] for line in read(f"/proc/{pid}/net/tcp").splitlines()
                                    if line.split()[3] == "0A"),
        # To whom, without the ports, which differ from one to the next.
        "connections": sorted(line.split()[2].split(":")[0] for line in read(f"/proc/{pid}/net/tcp").splitlines()
                              if line.split()[3] == "01"),
        "unix sockets": sorted(line.split()[-1] for line in read(f"/proc/{pid}/net/unix").splitlines()
                               if "/" in line or "@" in line),
        "files": sorted(os.path.join(d, f)[len(root):] for root in [f"/proc/{pid}/root"]
                        for top in ("/run/hob", "/etc/hob", "/var/lib/hob")
                        for d, _, files in os.walk(root + top) for f in files),
        **{f"System V {kind}": [line.split()[1] for line in read(f"/proc/{pid}/sysvipc/{kind}").splitlines()[1:]]
           for kind in ("shm", "sem", "msg")},
        # Of the daemon alone it may differ by what its allocator keeps; see Soak.growth.
        # Those who measure live in the group of h0.
        "memory of others, MiB": [1] * sum(cost(p)[0] // 1024 for p in inside if int(p) != pid and host != "h0"),
    }
    return found


def of_cell(cell, groups, hosts, work):
    found = {host: of_host(cell, groups, host) for host in hosts}
    found["machine"] = {
        # Other things run on the machine too: only what is named like ours, or lies where jobs write.
        "shared memory": sorted(os.listdir("/dev/shm")),
        "temporary files": sorted(f for top in ("/tmp", "/var/tmp") for f in os.listdir(top)
                                  if f.startswith("hob")),
        "job directories": sorted(f for f in os.listdir(work) if f.startswith("job")),
        "network namespaces": sorted(n for n in os.listdir("/run/netns") if n.startswith(os.path.basename(cell) + "-")),
    }
    return found


def differences(before, after):
    """One sentence for each kind of thing of which there is more than there was. Less is none of ours: a starter
    that was kept ready has gone, a peer has hung up."""
    found = []
    for place, kinds in before.items():
        for kind, was in kinds.items():
            more = collections.Counter(after[place][kind]) - collections.Counter(was)
            if more:
                found.append(f"{kind} of {place}: more than before: {dict(more)}")
    return found
