#include "wire/message.h"

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <set>

namespace hob::wire {
namespace {

std::string hex_of(pb::Envelope envelope) {
  std::string hex;
  for (char byte : encode(envelope)) hex += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return hex;
}

struct Golden {
  const char* name;
  void (*fill)(pb::Envelope&);
  const char* bytes;
};

/// The bytes of each kind that a running cell depends on, as version 1 has them. A difference here
/// means that hosts of two builds no longer understand each other: give the field a new number
/// instead, or raise kVersion (wire/hob.proto, version rule).
const Golden kGolden[] = {
    {"Done", [](pb::Envelope& e) { e.set_answers(7), e.mutable_done(); }, "080118075200"},
    {"Failure",
     [](pb::Envelope& e) {
       e.mutable_failure()->set_kind(pb::Failure::STALE);
       e.mutable_failure()->set_text("gone");
     },
     "08015a08080a1204676f6e65"},
    {"Hello",
     [](pb::Envelope& e) {
       auto* hello = e.mutable_hello();
       hello->set_endpoint("tcp://h:1");
       hello->mutable_report()->set_state(pb::HOST_IDLE);
       hello->add_serving("j1");
       hello->add_leases_held(9);
       auto* held = hello->add_held();
       held->set_lease(9), held->set_host("h2"), held->set_user("u");
     },
     "0801a201210a097463703a2f2f683a31120208031a026a312201092a090809120268321a0175"},
    {"Welcome",
     [](pb::Envelope& e) {
       auto* welcome = e.mutable_welcome();
       welcome->set_grant_key("k"), welcome->set_heartbeat_ns(2), welcome->set_epoch(3);
       auto* host = welcome->mutable_directory()->add_hosts();
       host->set_name("n"), host->set_endpoint("e"), host->set_public_key("p");
     },
     "0801aa01140a016b10021a0b12090a016e1201651a01702003"},
    {"HostReport",
     [](pb::Envelope& e) {
       auto* report = e.mutable_host_report();
       report->set_state(pb::HOST_REFUSES), report->set_idle_ns(1), report->set_slots(2);
       report->set_guests(3), report->set_reason("r"), report->set_cpu_features("c");
       report->mutable_import()->set_kind(pb::Policy::LIST);
       report->mutable_export_()->add_hosts("h");
       report->set_load(1);
     },
     "0801ba012008061001180220032a01723201633a020803420312016849000000000000f03f"},
    {"Heartbeat", [](pb::Envelope& e) { e.mutable_heartbeat()->add_leases(300); },
     "0801c201040a02ac02"},
    {"Select",
     [](pb::Envelope& e) {
       e.set_request(1);
       auto* select = e.mutable_select();
       select->set_user("u"), select->set_host("h"), select->add_exclude("x");
       select->set_no_wait(true);
     },
     "08011001ca010b0a01751201681a01782001"},
    {"Granted",
     [](pb::Envelope& e) {
       auto* granted = e.mutable_granted();
       granted->set_lease(5), granted->mutable_host()->set_name("h");
       granted->set_token("t"), granted->set_expires_wall_ns(6);
     },
     "0801d2010c080512030a01681a01742006"},
    {"Release", [](pb::Envelope& e) { e.mutable_release()->set_lease(5); }, "0801e201020805"},
    {"Revoked",
     [](pb::Envelope& e) {
       auto* revoked = e.mutable_revoked();
       revoked->set_lease(5), revoked->set_reclaim(true), revoked->set_reason("r");
     },
     "0801f20107080510011a0172"},
    {"Start",
     [](pb::Envelope& e) {
       auto* start = e.mutable_start();
       start->set_job("j"), start->set_lease(5), start->set_token("t");
       start->set_expires_wall_ns(6), start->set_home("h"), start->set_memory_limit(7);
       auto* program = start->mutable_program();
       program->add_arguments("a"), program->add_environment("E=1"), program->set_directory("/d");
       program->set_umask(18), program->set_terminal(true), program->set_termios("m");
       auto* limit = program->add_limits();
       limit->set_resource(1), limit->set_soft(2), limit->set_hard(3);
       program->mutable_window()->set_rows(24), program->mutable_window()->set_columns(80);
       auto* identity = start->mutable_identity();
       identity->set_uid(1000), identity->set_gid(1001), identity->add_groups(4);
       identity->set_user("u");
       start->mutable_clocks()->set_monotonic_ns(8), start->mutable_clocks()->set_boottime_ns(9);
     },
     "08019203460a016a10051a017420062a016832210a01611203453d311a022f6420122a0608011002"
     "180330013a041018185042016d3a0c08e80710e9071a01042201754204080810094807"},
    {"Started",
     [](pb::Envelope& e) { e.mutable_started()->set_job("j"), e.mutable_started()->set_host("h"); },
     "08019a03060a016a120168"},
    {"Data",
     [](pb::Envelope& e) {
       auto* data = e.mutable_data();
       data->set_job("j"), data->set_stream(pb::STDERR), data->set_offset(5), data->set_end(true);
     },
     "0801a203090a016a100318052001"},
    {"Ack",
     [](pb::Envelope& e) {
       auto* ack = e.mutable_ack();
       ack->set_job("j"), ack->set_stream(pb::STDIN), ack->set_offset(5), ack->set_closed(true);
     },
     "0801aa03090a016a100118052001"},
    {"Signal",
     [](pb::Envelope& e) { e.mutable_signal()->set_job("j"), e.mutable_signal()->set_number(15); },
     "0801b203050a016a100f"},
    {"Exited",
     [](pb::Envelope& e) {
       auto* exited = e.mutable_exited();
       exited->set_job("j"), exited->set_status(256), exited->set_cpu_ns(3);
     },
     "0801c203080a016a1080041803"},
    {"JobReports",
     [](pb::Envelope& e) {
       auto* report = e.mutable_job_reports()->add_reports();
       report->set_job("j"), report->set_started_wall_ns(5);
     },
     "08019a02070a050a016a5805"},
    {"Written", [](pb::Envelope& e) { e.set_answers(7), e.mutable_written(); }, "08011807a20200"},
    {"LiveJobs",
     [](pb::Envelope& e) {
       auto* live = e.mutable_live_jobs();
       live->set_after("a"), live->set_up_to("u"), live->add_jobs("j"), live->set_why("w");
     },
     "0801aa020c0a01611201751a016a220177"},
    {"EvictRequest",
     [](pb::Envelope& e) {
       auto* evict = e.mutable_evict_request();
       evict->set_job("j"), evict->set_reason("r"), evict->set_frozen(true);
       evict->set_frozen_wall_ns(4);
     },
     "0801d2030a0a016a12017218012004"},
    {"Receive",
     [](pb::Envelope& e) {
       auto* receive = e.mutable_receive();
       receive->set_job("j"), receive->set_attempt(2), receive->set_key("k");
       receive->set_home("h"), receive->set_lease(8), receive->set_token("t");
       receive->set_expires_wall_ns(10), receive->set_memory_limit(11);
     },
     "0801da03140a016a10021a016b22016840084a0174500a580b"},
    {"Depart",
     [](pb::Envelope& e) {
       auto* depart = e.mutable_depart();
       depart->set_job("j"), depart->set_attempt(2), depart->set_address("a");
       depart->set_port(4), depart->set_key("k");
     },
     "0801ea030d0a016a10021a016120042a016b"},
    {"Commit",
     [](pb::Envelope& e) { e.mutable_commit()->set_job("j"), e.mutable_commit()->set_attempt(2); },
     "0801fa03050a016a1002"},
    {"Settled",
     [](pb::Envelope& e) {
       e.mutable_settled()->set_job("j"), e.mutable_settled()->set_committed(true);
     },
     "08019a04050a016a1001"},
    {"Run",
     [](pb::Envelope& e) {
       auto* run = e.mutable_run();
       run->mutable_program()->add_arguments("true"), run->set_host("h"), run->set_no_wait(true);
       run->set_or_local(true), run->set_keep(true);
       run->set_local(true);
     },
     "0801d205130a060a04747275651201681801200128013801"},
};

TEST_CASE("the bytes of the messages are what they always were") {
  for (const Golden& golden : kGolden) {
    pb::Envelope envelope;
    golden.fill(envelope);
    INFO(golden.name);
    CHECK(hex_of(envelope) == golden.bytes);
  }
}

TEST_CASE("what is encoded is decoded, with any bytes in it") {
  pb::Envelope envelope;
  std::string every_byte;
  for (int byte = 0; byte < 256; ++byte) every_byte.push_back(static_cast<char>(byte));
  envelope.mutable_run()->mutable_program()->add_arguments(every_byte);
  const pb::Envelope decoded = decode(encode(envelope)).value();
  CHECK(decoded.version() == kVersion);
  CHECK(decoded.run().program().arguments(0) == every_byte);
}

TEST_CASE("damaged, foreign and empty envelopes are Errors that say what to do") {
  pb::Envelope envelope;
  CHECK(decode(encode(envelope)).error().text ==
        "decode a message: no known body; update hob on this side");
  envelope.mutable_done();
  const std::string good = encode(envelope);
  CHECK(decode(good).ok());
  for (size_t size = 0; size < good.size(); ++size) CHECK_FALSE(decode({good.data(), size}).ok());
  CHECK(decode(good + "\x0f").error().text.find("damaged") != std::string::npos);
  envelope.set_version(kVersion + 1);
  CHECK(decode(envelope.SerializeAsString()).error().text.find("update hob on the older side") !=
        std::string::npos);
  CHECK(decode(std::string(kMaxEnvelope + 1, '\0')).error().code == EMSGSIZE);
}

TEST_CASE("fields of a later build are skipped") {
  pb::Envelope envelope;
  envelope.mutable_note()->set_text("x");
  const std::string later = encode(envelope) + "\xa2\x3f\x03new";  // field 1012, three bytes
  CHECK(decode(later).value().note().text() == "x");
}

TEST_CASE("a deep nest costs an Error, not the stack") {
  // Group after group, never closed: what recursion without a limit would follow.
  CHECK_FALSE(decode(std::string(kMaxEnvelope, '\x0b')).ok());
}

TEST_CASE("every kind of failure and every state has a word of its own") {
  std::set<std::string_view> words;
  for (int kind = 1; kind <= pb::Failure::Kind_MAX; ++kind)
    words.insert(name_of(static_cast<pb::Failure::Kind>(kind)));
  CHECK(words.size() == pb::Failure::Kind_MAX);
  words.clear();
  for (int state = 1; state <= pb::HostState_MAX; ++state)
    words.insert(name_of(static_cast<pb::HostState>(state)));
  CHECK(words.size() == pb::HostState_MAX);
  CHECK(name_of(pb::HOST_UNSPECIFIED) == "DOWN");  // fail closed
}

}  // namespace
}  // namespace hob::wire
