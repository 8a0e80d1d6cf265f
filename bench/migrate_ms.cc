#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "tests/migrate/rig.h"

/// How long a program stands still while it moves, as the source sees it: from the first thread
/// stopped until the target has said that it runs. Loopback, one machine, medians. Usage:
/// migrate_ms [RUNS]
using namespace hob::test;

namespace {

double median(std::vector<double> all) {
  if (all.empty()) return -1;
  std::sort(all.begin(), all.end());
  return all[all.size() / 2];
}

void measure(const char* name, const std::vector<std::string>& arguments, int runs,
             Plan plan = {}) {
  plan.moves = runs;  // one program, moved again and again
  plan.pause_ms = 20;
  const Verdict v = run_and_move(arguments, plan);
  std::printf("%-12s median %7.2f ms   best %7.2f ms   %zu moves%s%s\n", name, median(v.freeze_ms),
              v.freeze_ms.empty() ? -1 : *std::min_element(v.freeze_ms.begin(), v.freeze_ms.end()),
              v.freeze_ms.size(), v.status == 0 ? "" : "   FAILED ", v.problem.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  const int runs = argc > 1 ? std::atoi(argv[1]) : 10;
  measure("small", {victim("memory_static"), "1"}, runs);
  measure("1 GiB", {victim("memory_static"), "1024"}, std::min(runs, 4));
  measure("64 threads", {victim("threads"), "64"}, runs);
  measure("tree", {victim("tree")}, runs);
  measure("python",
          {"/usr/bin/python3", "-c",
           "import json,re,threading,socket,decimal,unittest\nprint('ready',flush=True)\ninput()"},
          runs);
}
