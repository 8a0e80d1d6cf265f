#include "tests/ledger/kit.h"

using namespace hob;
using namespace hob::coordinator;
using namespace hob::coordinator::test;
using Catch::Matchers::Contains;

TEST_CASE("each start of the coordinator has a number of its own") {
  Scratch scratch;
  CHECK(get(Ledger::open(scratch / "ledger", at(0))).epoch() == 1);
  CHECK(get(Ledger::open(scratch / "ledger", at(1))).epoch() == 2);
}

TEST_CASE("hosts are registered, moved and removed, and survive a restart") {
  Scratch scratch;
  HostId b{};
  {
    Ledger ledger = get(Ledger::open(scratch / "ledger", at(0)));
    b = get(ledger.add_host(host_row("b"), std::nullopt, at(0)));
    get(ledger.add_host(host_row("a"), std::nullopt, at(0)));
    get(ledger.move_host(b, "tcp://10.77.0.9:1"));
  }
  Ledger ledger = get(Ledger::open(scratch / "ledger", at(1)));
  auto rows = get(ledger.hosts());
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].name == "a");
  HostRow expected = host_row("b");
  expected.id = b;
  expected.endpoint = "tcp://10.77.0.9:1";
  CHECK(rows[1] == expected);

  get(ledger.remove_host(b, at(2)));
  CHECK(get(ledger.hosts()).size() == 1);
  CHECK(fail(ledger.remove_host(b, at(3))).code == ENOENT);
  CHECK(fail(ledger.move_host(b, "x")).code == ENOENT);
  // The name is free again; the number is not.
  CHECK(get(ledger.add_host(host_row("b"), std::nullopt, at(4))) != b);
}

TEST_CASE("a name or a key is registered once") {
  Scratch scratch;
  Ledger ledger = get(Ledger::open(scratch / "ledger", at(0)));
  get(ledger.add_host(host_row("a"), std::nullopt, at(0)));
  HostRow other = host_row("b");
  other.name = "a";
  Error error = fail(ledger.add_host(other, std::nullopt, at(0)));
  CHECK(error.code == EEXIST);
  CHECK_THAT(error.text, Contains("host a is registered already"));
  other = host_row("a");
  other.name = "c";
  error = fail(ledger.add_host(other, std::nullopt, at(0)));
  CHECK(error.code == EEXIST);
  CHECK_THAT(error.text, Contains("under another name"));
  other = host_row("d");
  other.public_key = "short";
  CHECK_THAT(fail(ledger.add_host(other, std::nullopt, at(0))).text, Contains("CHECK"));
  CHECK(get(ledger.hosts()).size() == 1);
}

TEST_CASE("an invitation registers one host, in time") {
  Scratch scratch;
  Ledger ledger = get(Ledger::open(scratch / "ledger", at(0)));
  const std::string key(32, 'k'), unknown(32, 'u');
  get(ledger.invite(key, "", at(100), at(0)));
  CHECK(get(ledger.invited(key)));
  CHECK_FALSE(get(ledger.invited(unknown)));
  CHECK(get(ledger.invitations(at(99))) == std::vector{InviteRow{"6b6b6b6b", "", at(0), at(100)}});
  CHECK(get(ledger.invitations(at(100))).empty());

  const auto refused = [&](const std::string& name, const std::string& invitation, WallTime now) {
    const Error error = fail(ledger.add_host(host_row(name), invitation, now));
    CHECK(error.code == EACCES);
    return error.text;
  };
  CHECK_THAT(refused("a", unknown, at(1)), Contains("not of this cell"));
  CHECK_THAT(refused("a", key, at(100)), Contains("has expired"));
  CHECK(get(ledger.hosts()).empty());  // a refused invitation leaves no host behind
  get(ledger.add_host(host_row("a"), key, at(1)));
  CHECK(get(ledger.invited(key)));  // known for ever, so that its holder is told
  CHECK(get(ledger.invitations(at(2))).empty());
  CHECK_THAT(refused("b", key, at(2)), Contains("used already, by a"));
  // Who holds a used one does not learn which names are taken.
  CHECK_THAT(refused("a", key, at(2)), Contains("used already, by a"));
}

TEST_CASE("an invitation may be for one name alone, and can be withdrawn") {
  Scratch scratch;
  Ledger ledger = get(Ledger::open(scratch / "ledger", at(0)));
  const std::string named(32, 'n'), open(32, 'o');
  get(ledger.invite(named, "a", at(100), at(0)));
  get(ledger.invite(open, "", at(100), at(1)));
  CHECK(get(ledger.invitations(at(2))).size() == 2);
  CHECK_THAT(fail(ledger.add_host(host_row("b"), named, at(2))).text,
             Contains("for a host named a"));
  SECTION("used") {
    get(ledger.add_host(host_row("a"), named, at(2)));
    CHECK(fail(ledger.invite(std::string(32, 'x'), "a", at(100), at(3))).code == EEXIST);
    CHECK(get(ledger.withdraw("a", at(3))) == 0);
  }
  SECTION("withdrawn by name") {
    CHECK(get(ledger.withdraw("a", at(3))) == 1);
    CHECK_THAT(fail(ledger.add_host(host_row("a"), named, at(4))).text, Contains("been withdrawn"));
  }
  SECTION("withdrawn by number") {
    CHECK(get(ledger.withdraw("6f6f6f6f", at(3))) == 1);
    CHECK(get(ledger.invitations(at(4))) ==
          std::vector{InviteRow{"6e6e6e6e", "a", at(0), at(100)}});
    CHECK(get(ledger.withdraw("6f6f6f6f", at(5))) == 0);
  }
}

TEST_CASE("a job's row follows its life, and a later report does not unlearn") {
  Scratch scratch;
  Ledger ledger = get(Ledger::open(scratch / "ledger", at(0)));
  const HostId a = get(ledger.add_host(host_row("a"), std::nullopt, at(0)));
  const HostId b = get(ledger.add_host(host_row("b"), std::nullopt, at(0)));
  JobRow row = job_row("a-1", a, 5);
  get(ledger.record(row));
  row.state = JobState::running;
  row.host = b;
  row.started = at(6);
  get(ledger.record(row));
  get(ledger.record(job_row("a-2", a, 9)));
  CHECK_FALSE(get(ledger.job("a-1")).has_value());  // not written yet
  get(ledger.commit());
  CHECK(ledger.unwritten() == 0);
  CHECK(get(ledger.job("a-1")) == row);

  JobRow last = job_row("a-1", a, 7);
  last.state = JobState::done;
  last.exit_status = 0x0100;
  last.ended = at(8);
  get(ledger.record(last));
  get(ledger.commit());
  last.submitted = at(5);
  last.started = at(6);
  CHECK(get(ledger.job("a-1")) == last);

  const auto alive = get(ledger.jobs(false));
  REQUIRE(alive.size() == 1);
  CHECK(alive[0].id == "a-2");
  const auto all = get(ledger.jobs(true));
  REQUIRE(all.size() == 2);
  CHECK(all[0].id == "a-2");
  CHECK(get(ledger.jobs(true, 1)).size() == 1);
}

TEST_CASE("moves are listed with their figures, oldest first") {
  Scratch scratch;
  Ledger ledger = get(Ledger::open(scratch / "ledger", at(0)));
  MoveRow first;
  first.job = "a-1";
  first.from = get(ledger.add_host(host_row("b"), std::nullopt, at(0)));
  first.to = get(ledger.add_host(host_row("a"), std::nullopt, at(0)));
  first.reason = "owner returned";
  first.moved = true;
  first.freeze = microseconds(14'200);
  first.push = milliseconds(803);
  first.clean = milliseconds(900);
  first.pages_moved = 51'200;
  first.pages_demanded = 17;
  first.image_bytes = uint64_t{5} << 40;
  first.threads = 3;
  first.processes = 2;
  first.at = at(10);
  MoveRow second = first;
  second.moved = false;
  second.text = "home did not answer";
  second.at = at(20);
  get(ledger.record(second));
  get(ledger.record(first));
  get(ledger.commit());
  const std::vector<MoveRow> expected{first, second};
  CHECK(get(ledger.moves("a-1")) == expected);
  CHECK(get(ledger.moves("a-2")).empty());
}

TEST_CASE("bytes that are not text come back as they were") {
  Scratch scratch;
  Ledger ledger = get(Ledger::open(scratch / "ledger", at(0)));
  JobRow row = job_row("a-1", get(ledger.add_host(host_row("a"), std::nullopt, at(0))));
  row.command = std::string("\xff\xfe 'quoted'; DROP TABLE jobs;-- \0 end", 38);
  get(ledger.record(row));
  get(ledger.commit());
  CHECK(get(ledger.job("a-1"))->command == row.command);
}
