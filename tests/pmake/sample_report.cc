#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "sample.h"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: sample_report FOLDER [RECIPES [HOSTS]]\n");
    return 2;
  }
  const std::string folder = argv[1];
  const auto number = [&](int i, uint32_t otherwise) {
    return argc > i ? static_cast<uint32_t>(std::strtoul(argv[i], nullptr, 10)) : otherwise;
  };
  const hob::pmake::Sample sample = hob::pmake::sample_build(number(2, 163), number(3, 8));
  std::ofstream(folder + "/report.html")
      << hob::pmake::html_report(sample.timeline, sample.wall, "pmake all in ~/src/tcl8.6.13/unix");
  std::ofstream(folder + "/trace.json") << hob::pmake::chrome_trace(sample.timeline, sample.wall);
  std::puts(to_string(summarise(sample.timeline, sample.wall)).c_str());
}
