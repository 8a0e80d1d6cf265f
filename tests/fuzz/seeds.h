#pragma once

#include <cstdio>
#include <span>
#include <string>

/// What a target starts from, made by the code under test itself, so that it is of its version:
/// written into the first corpus directory of the command line (the one that libFuzzer writes to).
/// From LLVMFuzzerInitialize.
namespace hob::test {

inline void write_seed(int argc, char** argv, const std::string& name,
                       std::span<const std::byte> bytes) {
  for (int i = 1; i < argc; i++) {
    if (argv[i][0] == '-') continue;
    const std::string path = std::string(argv[i]) + "/seed-" + name;
    std::FILE* file = std::fopen(path.c_str(), "wb");
    if (file == nullptr) return;  // one input instead of a directory: a finding is looked at again
    std::fwrite(bytes.data(), 1, bytes.size(), file);
    std::fclose(file);
    return;
  }
}

}  // namespace hob::test
