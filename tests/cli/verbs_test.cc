// The verbs that ask and order, against a hostd that the test plays.
#include <fcntl.h>
#include <sys/wait.h>

#include <csignal>

#include "rig.h"
//
#include <catch2/catch.hpp>

using namespace hob;
using namespace hob::test;

namespace {

struct Rig {
  TemporaryDirectory directory;
  FakeHostd hostd{directory.path() + "/hostd.sock"};

  Process start(std::vector<std::string> arguments) {
    return Process(remote_program(), std::move(arguments),
                   {{"REMOTE_SOCKET=" + hostd.path(), "TZ=UTC"}, [] {}, {}, {}, {}});
  }
  pb::Envelope answer(pb::Envelope envelope) {
    Connection connection = hostd.accept();
    const pb::Envelope request = connection.receive().envelope;
    connection.answer(request, std::move(envelope));
    return request;
  }
};

pb::Envelope hosts() {
  pb::Envelope envelope;
  pb::HostStatus& idle = *envelope.mutable_host_list()->add_hosts();
  idle.set_name("h1");
  idle.set_endpoint("tcp://10.77.0.1:7718");
  idle.set_granted(1);
  idle.set_seen_ns(1'500'000'000);
  pb::HostReport& report = *idle.mutable_report();
  report.set_state(pb::HOST_PART_USED);
  report.set_idle_ns(4'205'000'000'000);
  report.set_slots(4);
  report.set_guests(1);
  report.set_load(0.256);
  report.set_reason("no input for 1h10m");
  pb::HostStatus& down = *envelope.mutable_host_list()->add_hosts();
  down.set_name("workstation-\xff\x1b[2J");
  down.mutable_report()->set_state(pb::HOST_DOWN);
  down.mutable_report()->set_reason("not heard of");
  return envelope;
}

pb::Envelope done() {
  pb::Envelope envelope;
  envelope.mutable_done();
  return envelope;
}

}  // namespace

TEST_CASE("hosts: a table for people") {
  Rig rig;
  Process remote = rig.start({"hosts"});
  CHECK(rig.answer(hosts()).has_list_hosts());
  CHECK(exited_with(remote.finish(), 0));
  CHECK(remote.output() ==
        "HOST               STATE       IDLE  GUESTS  LOAD\n"
        "h1                 PART_USED  1h10m     1/4  0.26\n"
        "workstation-\xff?[2J  DOWN           -       -     -\n");
  CHECK(remote.error().empty());
}

TEST_CASE("hosts: --why, names, no headers") {
  Rig rig;
  Process why = rig.start({"hosts", "--why", "--no-headers"});
  rig.answer(hosts());
  why.finish();
  CHECK(why.output() ==
        "h1                 PART_USED  1h10m  1/4  0.26  no input for 1h10m\n"
        "workstation-\xff?[2J  DOWN           -    -     -  not heard of\n");
  Process names = rig.start({"hosts", "-o", "name"});
  rig.answer(hosts());
  names.finish();
  CHECK(names.output() == "h1\nworkstation-\xff\x1b[2J\n");
}

TEST_CASE("hosts: JSON, bytes that are no text kept beside") {
  Rig rig;
  Process remote = rig.start({"hosts", "--json"});
  rig.answer(hosts());
  CHECK(exited_with(remote.finish(), 0));
  CHECK(
      remote.output() ==
      "{\"schema\":1,\"hosts\":[{\"name\":\"h1\",\"state\":\"PART_USED\",\"reason\":\"no input for "
      "1h10m\","
      "\"idle_seconds\":4205,\"guests\":1,\"slots\":4,\"granted\":1,\"load\":0.256,"
      "\"endpoint\":\"tcp://10.77.0.1:7718\",\"seen_seconds\":1.5},"
      "{\"name\":\"workstation-\xef\xbf\xbd\\u001b[2J\",\"name_b64\":\"d29ya3N0YXRpb24t/xtbMko=\","
      "\"state\":\"DOWN\",\"reason\":\"not heard of\",\"idle_seconds\":0,\"guests\":0,\"slots\":0,"
      "\"granted\":0,\"load\":0,\"endpoint\":\"\",\"seen_seconds\":0}]}\n");
}

TEST_CASE("hosts: --watch asks again") {
  Rig rig;
  Process remote = rig.start({"hosts", "--watch=1ms", "-o", "name"});
  rig.answer(hosts());
  rig.answer(hosts());
  rig.answer(hosts());
  remote.signal(SIGINT);
  const int status = remote.finish();
  CHECK(WIFSIGNALED(status));
  CHECK(remote.output().starts_with("h1\nworkstation-\xff\x1b[2J\nh1\n"));
}

TEST_CASE("ps: table and JSON") {
  pb::Envelope envelope;
  pb::JobStatus& status = *envelope.mutable_job_list()->add_jobs();
  status.set_home("h1");
  status.set_started_wall_ns(1'772'366'400'250'000'000);
  status.set_reason("owner returned");
  status.set_moves(2);
  pb::JobReport& job = *status.mutable_job();
  job.set_job("h1-41");
  job.set_user("ann");
  job.set_uid(1000);
  job.set_command("xz -9 a\nb");
  job.set_host("h2");
  SECTION("table") {
    job.set_state(pb::JobReport::RUNNING);
    Rig rig;
    Process remote = rig.start({"ps", "-a", "-e"});
    const pb::Envelope request = rig.answer(envelope);
    CHECK(request.list_jobs().all_hosts());
    CHECK(request.list_jobs().ended());
    CHECK(exited_with(remote.finish(), 0));
    CHECK(remote.output().starts_with("JOB    STATE    HOST  HOME  USER"));
    CHECK(remote.output().find("\nh1-41  running  h2    h1    ann ") != std::string::npos);
    CHECK(remote.output().ends_with("  xz -9 a?b\n"));
  }
  SECTION("names, in the order in which people count") {
    for (const char* name : {"h1-100", "h1-9"})
      envelope.mutable_job_list()->add_jobs()->mutable_job()->set_job(name);
    Rig rig;
    Process remote = rig.start({"ps", "-o", "name"});
    rig.answer(envelope);
    remote.finish();
    CHECK(remote.output() == "h1-9\nh1-41\nh1-100\n");
  }
  SECTION("JSON") {
    job.set_state(pb::JobReport::DONE);
    job.set_exit_status(9);
    Rig rig;
    Process remote = rig.start({"ps", "-o", "json"});
    CHECK_FALSE(rig.answer(envelope).list_jobs().all_hosts());
    remote.finish();
    CHECK(remote.output() ==
          "{\"schema\":1,\"jobs\":[{\"id\":\"h1-41\",\"state\":\"done\",\"user\":\"ann\",\"uid\":"
          "1000,"
          "\"command\":\"xz -9 a\\u000ab\",\"host\":\"h2\",\"exit_signal\":9,\"home\":\"h1\","
          "\"started\":\"2026-03-01T12:00:00.250Z\",\"reason\":\"owner returned\",\"guest\":false,"
          "\"moves\":2}]}\n");
  }
}

TEST_CASE("history: where a job has been") {
  pb::Envelope envelope;
  pb::History& history = *envelope.mutable_history();
  history.set_home("h1");
  history.set_submitted_wall_ns(1'772'366'400'000'000'000);
  history.mutable_job()->set_job("h1-41");
  history.mutable_job()->set_state(pb::JobReport::DONE);
  pb::MoveReport& move = *history.add_moves();
  move.set_from("h2");
  move.set_to("h1");
  move.set_reason("owner returned");
  move.set_moved(true);
  move.mutable_figures()->set_freeze_ns(2'300'000);
  move.mutable_figures()->set_pages_moved(256);
  Rig rig;
  Process table = rig.start({"history", "h1-4"});
  CHECK(rig.answer(envelope).list_history().job() == "h1-4");
  CHECK(exited_with(table.finish(), 0));
  CHECK(table.output().find("submitted  2026-03-01 12:00:00\n") != std::string::npos);
  CHECK(table.output().find("state      exited 0\n") != std::string::npos);
  CHECK(table.output().ends_with(
      "MOVED  FROM  TO   FROZEN  PUSHED  CLEAN   MEMORY  REASON          RESULT\n"
      "-      h2    h1  2.30 ms       -      -  1.0 MiB  owner returned  moved\n"));
  Process json = rig.start({"history", "h1-4", "--json"});
  rig.answer(envelope);
  json.finish();
  CHECK(json.output() ==
        "{\"schema\":1,\"job\":{\"id\":\"h1-41\",\"state\":\"done\",\"user\":\"\",\"uid\":0,"
        "\"command\":\"\","
        "\"host\":\"\",\"exit_code\":0,\"home\":\"h1\",\"submitted\":\"2026-03-01T12:00:00.000Z\","
        "\"started\":null,\"ended\":null,\"moves\":[{\"time\":null,\"from\":\"h2\",\"to\":\"h1\","
        "\"reason\":\"owner returned\",\"moved\":true,\"freeze_seconds\":0.0023,\"push_seconds\":0,"
        "\"clean_seconds\":0,\"pages_moved\":256,\"pages_demanded\":0,\"image_bytes\":0,"
        "\"threads\":0,"
        "\"processes\":0}]}}\n");
}

TEST_CASE("check: a job is asked of hostd, the answer is shown and is the exit status") {
  pb::Envelope envelope;
  pb::Checked& checked = *envelope.mutable_checked();
  checked.set_host("h2");
  pb::Checked::Resource& row = *checked.add_resources();
  row.set_process(2);
  row.set_program("cc1");
  row.set_place("fd 3");
  row.set_name("/tmp/\x1b");
  row.set_kind("file");
  row.set_binding("rebound");
  row.set_reason("opened there");
  Rig rig;
  SECTION("movable, with its table") {
    checked.set_left_out(7);
    Process remote = rig.start({"check", "-v", "h1.17"});
    const pb::Envelope request = rig.answer(envelope);
    CHECK(request.check().job() == "h1.17");
    CHECK(request.check().table());
    CHECK(exited_with(remote.finish(), 0));
    CHECK(remote.output() ==
          "h1.17 on h2: nothing stands in the way of a move\n\n"
          "PROCESS  WHAT  KIND  BINDING  NAME    WHY\n"
          "      2  fd 3  file  rebound  /tmp/?  opened there\n"
          "and 7 more\n");
  }
  SECTION("not movable") {
    checked.clear_resources();
    checked.add_obstacles("fd 3 of process 2 (cc1): a network connection; cannot be moved yet");
    Process remote = rig.start({"check", "h1.17"});
    CHECK_FALSE(rig.answer(envelope).check().table());
    CHECK(exited_with(remote.finish(), 1));
    CHECK(remote.output() ==
          "h1.17 on h2: cannot be moved\n"
          "fd 3 of process 2 (cc1): a network connection; cannot be moved yet\n");
  }
  SECTION("JSON") {
    Process remote = rig.start({"check", "--json", "-v", "h1.17"});
    rig.answer(envelope);
    CHECK(exited_with(remote.finish(), 0));
    CHECK(remote.output() ==
          "{\"schema\":1,\"checked\":\"h1.17\",\"host\":\"h2\",\"movable\":true,\"obstacles\":[],"
          "\"resources\":[{\"process\":2,\"program\":\"cc1\",\"place\":\"fd 3\",\"kind\":\"file\","
          "\"binding\":\"rebound\",\"reason\":\"opened there\",\"name\":\"/tmp/\\u001b\"}],"
          "\"left_out\":0}\n");
  }
}

TEST_CASE("check: a number is a process, which hostd is not asked about") {
  Rig rig;
  Process remote = rig.start({"check", "999999999"});
  CHECK(exited_with(remote.finish(), 4));
  CHECK(remote.output().empty());
  CHECK(remote.error() ==
        "remote: check process 999999999: No such process; name one that `ps` shows\n");
}

TEST_CASE("inspect: what is no image is an error") {
  Rig rig;
  const std::string path = rig.directory.path() + "/text";
  REQUIRE(replace_file(path, "no image").ok());
  Process text = rig.start({"inspect", path});
  CHECK(exited_with(text.finish(), 1));
  CHECK(text.output().empty());
  CHECK(text.error() == "remote: inspect " + path +
                            ": read the image: it does not start with its magic; it is damaged or "
                            "hostile\n");
  Process missing = rig.start({"inspect", "-v", path + "2"});
  CHECK(exited_with(missing.finish(), 4));
}

TEST_CASE("orders: what hostd is asked, and silence when it is done") {
  Rig rig;
  const auto asked = [&](std::vector<std::string> words) {
    Process remote = rig.start(std::move(words));
    pb::Envelope request = rig.answer(done());
    CHECK(exited_with(remote.finish(), 0));
    CHECK(remote.output().empty());
    CHECK(remote.error().empty());
    return request;
  };
  CHECK(asked({"evict"}).evict_all().job().empty());
  CHECK(asked({"evict", "j1"}).evict_all().job() == "j1");
  CHECK(asked({"migrate", "j1", "h2"}).migrate().host() == "h2");
  CHECK(asked({"migrate", "j1"}).migrate().job() == "j1");
  CHECK(asked({"kill", "j1"}).kill_job().signal() == 0);
  CHECK(asked({"kill", "-s", "HUP", "j1"}).kill_job().signal() == SIGHUP);
  CHECK(asked({"kill", "-9", "j1"}).kill_job().signal() == SIGKILL);
  CHECK(asked({"kill", "-HUP", "j1"}).kill_job().job() == "j1");
  CHECK(asked({"pause"}).pause().on());
  CHECK(asked({"pause", "2h"}).pause().for_ns() == 7'200'000'000'000);
  CHECK_FALSE(asked({"resume"}).pause().on());
}

TEST_CASE("orders: several jobs are killed, the first failure is the exit status") {
  Rig rig;
  Process remote = rig.start({"kill", "j1", "j2", "j3"});
  CHECK(
      rig.answer(wire::failure(pb::Failure::NOT_FOUND, "kill j1: no such job")).kill_job().job() ==
      "j1");
  CHECK(rig.answer(wire::failure(pb::Failure::NOT_PERMITTED, "kill j2: not yours"))
            .kill_job()
            .job() == "j2");
  CHECK(rig.answer(done()).kill_job().job() == "j3");
  CHECK(exited_with(remote.finish(), 4));
  CHECK(remote.error() == "remote: kill j1: no such job\nremote: kill j2: not yours\n");
}

TEST_CASE("failures become exit statuses") {
  const std::pair<pb::Failure::Kind, int> cases[] = {
      {pb::Failure::INTERNAL, 1},  {pb::Failure::USAGE, 2},         {pb::Failure::UNREACHABLE, 3},
      {pb::Failure::NOT_FOUND, 4}, {pb::Failure::NOT_PERMITTED, 5}, {pb::Failure::NO_HOST, 1}};
  for (auto [kind, code] : cases) {
    Rig rig;
    Process remote = rig.start({"hosts"});
    rig.answer(wire::failure(kind, "no"));
    CHECK(exited_with(remote.finish(), code));
    CHECK(remote.error() == "remote: no\n");
  }
}

TEST_CASE("no hostd, a hostd that hangs up, one that answers something else") {
  Rig rig;
  SECTION("none") {
    rig.hostd.stop();
    Process remote = rig.start({"ps"});
    CHECK(exited_with(remote.finish(), 3));
    CHECK(remote.error() == "remote: connect to " + rig.hostd.path() +
                                ": Connection refused; is hob-hostd running on this machine?\n");
  }
  SECTION("hangs up") {
    Process remote = rig.start({"ps"});
    rig.hostd.accept().close();
    CHECK(exited_with(remote.finish(), 3));
    CHECK(remote.error().starts_with("remote: ask hob-hostd: "));
  }
  SECTION("something else") {
    Process remote = rig.start({"ps"});
    rig.answer(done());
    CHECK(exited_with(remote.finish(), 1));
    CHECK(remote.error().find("answered something else") != std::string::npos);
  }
}

TEST_CASE("a socket's path that is too long, or not ours, is explained") {
  Process long_path(remote_program(), {"ps"},
                    {{"REMOTE_SOCKET=/" + std::string(200, 'x')}, [] {}, {}, {}, {}});
  CHECK(exited_with(long_path.finish(), 3));
  CHECK(long_path.error() ==
        "remote: connect to hob-hostd: the path in $REMOTE_SOCKET is too long for a socket; 107 "
        "bytes fit\n");
}

TEST_CASE("a closed stdout is an error") {
  Rig rig;
  Process::Setup setup;
  setup.environment = {"REMOTE_SOCKET=" + rig.hostd.path()};
  setup.in_child = [] { ::close(1); };
  Process remote(remote_program(), {"hosts"}, setup);
  rig.answer(hosts());
  CHECK(exited_with(remote.finish(), 1));
  CHECK(remote.error() == "remote: write stdout: Bad file descriptor\n");
}

TEST_CASE("a full disk under stdout is an error") {
  Rig rig;
  const Fd full = open_file("/dev/full", O_WRONLY).value();
  Process::Setup setup;
  setup.environment = {"REMOTE_SOCKET=" + rig.hostd.path()};
  setup.out = full.get();
  Process remote(remote_program(), {"hosts"}, setup);
  rig.answer(hosts());
  CHECK(exited_with(remote.finish(), 1));
  CHECK(remote.error().find("No space left") != std::string::npos);
}
