#include "rig.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <catch2/catch.hpp>

using namespace hob::test;

/// Programs that nobody wrote for this project. Each runs once at rest, for the right answer, and
/// once with moves in the middle. Before its end it waits for a line, so that it is there to be
/// moved.
namespace {

std::string scratch() {
  char name[] = "/tmp/hob-programs.XXXXXX";
  REQUIRE(::mkdtemp(name));
  ::chmod(name, 0777);
  return name;
}

bool have(const char* program) {
  return std::filesystem::exists(program);
}

void same_as_at_rest(const std::vector<std::string>& arguments, Plan plan) {
  Plan rest = plan;
  rest.moves = 0;
  const Verdict expected = run_and_move(arguments, rest);
  INFO("at rest: " << expected.problem << expected.output);
  REQUIRE(expected.status == 0);
  const Verdict moved = run_and_move(arguments, plan);
  INFO("problem: " << moved.problem);
  CHECK(moved.problem == "");
  CHECK(moved.status == 0);
  CHECK(moved.output == expected.output);
}

Plan in_the_middle(int pause_ms = 100, int moves = 2) {
  Plan plan;
  plan.ready = "";
  plan.pause_ms = pause_ms;
  plan.moves = moves;
  return plan;
}

#define NEED(path)             \
  if (!have(path)) {           \
    WARN("SKIP: needs " path); \
    return;                    \
  }

}  // namespace

TEST_CASE("sh moves, with its loop and its arithmetic") {
  same_as_at_rest(
      {"/bin/sh", "-c", "i=0; while [ $i -lt 600000 ]; do i=$((i+1)); done; read x; echo done $i"},
      in_the_middle());
}

TEST_CASE("a pipeline of four moves, no line lost") {
  NEED("/usr/bin/awk");
  same_as_at_rest({"/bin/sh", "-c",
                   "seq 1 1000000 | sed 's/7/seven/' | awk '{ n += length($0) } END { print n, NR "
                   "}' | cat; read x; echo $x"},
                  in_the_middle(60, 3));
}

TEST_CASE("python3 moves") {
  NEED("/usr/bin/python3");
  same_as_at_rest({"/usr/bin/python3", "-c",
                   "import hashlib,threading\n"
                   "d={}\n"
                   "def work(k):\n"
                   "  h=hashlib.sha256()\n"
                   "  for i in range(60000):\n"
                   "    h.update(str(i*k).encode()); d[(k,i)]=h.hexdigest()[:4]\n"
                   "  d[k]=h.hexdigest()\n"
                   "t=[threading.Thread(target=work,args=(k,)) for k in range(4)]\n"
                   "[x.start() for x in t]; [x.join() for x in t]\n"
                   "print(sorted(str(d[k]) for k in range(4)), len(d), input())"},
                  in_the_middle(150));
}

TEST_CASE("perl moves") {
  NEED("/usr/bin/perl");
  same_as_at_rest({"/usr/bin/perl", "-e",
                   "my %h; for my $i (1..1500000) { $h{$i % 5000} .= chr(65+$i%26) } my $s=0; "
                   "$s += length($h{$_}) * $_ for keys %h; print \"$s\\n\"; my $go = <STDIN>; "
                   "print $go; print join(',', map {substr($h{$_},0,3)} 1..20), \"\\n\""},
                  in_the_middle());
}

TEST_CASE("xz moves, reading and writing files") {
  NEED("/usr/bin/xz");
  const std::string dir = scratch();
  {
    std::ofstream out(dir + "/data");
    uint64_t x = 1;
    for (int i = 0; i < 250000; i++)
      out << (x = x * 6364136223846793005ull + 1442695040888963407ull) % 100000 << "\n";
  }
  ::chmod((dir + "/data").c_str(), 0666);
  same_as_at_rest(
      {"/bin/sh", "-c",
       "cd " + dir +
           " && xz -c -6 data > data.xz && xz -dc data.xz | cksum && cksum < data.xz && read x"},
      in_the_middle(150, 3));
  std::filesystem::remove_all(dir);
}

TEST_CASE("gcc and its cc1 move") {
  NEED("/usr/bin/gcc");
  const std::string dir = scratch();
  {
    std::ofstream out(dir + "/big.c");
    for (int i = 0; i < 500; i++)
      out << "int f" << i << "(int a,int b){int s=0;for(int i=0;i<a;i++){s+=i*b^" << i
          << ";if(s%3)s-=b;else s+=a;}return s;}\n";
    out << "int main(void){return f7(3,4)==0;}\n";
  }
  same_as_at_rest(
      {"/bin/sh", "-c",
       "cd " + dir + " && TMPDIR=. gcc -O2 -S -o big.s big.c && cksum < big.s && read x"},
      in_the_middle(150, 2));
  std::filesystem::remove_all(dir);
}

TEST_CASE("script moves, with the shell on its pty") {
  NEED("/usr/bin/script");
  Plan plan;
  plan.ready = "ready";
  // The inner shell's answers go through the pty; what it reads comes from script's own input.
  same_as_at_rest(
      {"/usr/bin/script", "-qec",
       "stty -echo; tty; stty size; echo ready; read line; echo \"got $line\"; tty", "/dev/null"},
      plan);
}
