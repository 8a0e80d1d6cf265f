#pragma once

#include <string>
#include <vector>

#include "migrate/image.h"

/// The long form of print.h: what one process has, line by line.
namespace hob::migrate {

/// Threads, mappings, descriptors, signals, timers, limits, pages.
void print_parts(const Image& image, const ProcessImage& process, std::vector<std::string>& out);

std::string line_of(const Image& image, const Description& description);
std::string line_of(const ObjectImage& object);
std::string line_of(const SocketImage& socket);
std::string line_of(const InetImage& socket);
std::string line_of(const PtyImage& pty);
std::string line_of(const PipeImage& pipe);
std::string line_of(const Image& image, const LockImage& lock);

}  // namespace hob::migrate
