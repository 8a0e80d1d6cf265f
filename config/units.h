#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"

namespace hob {

/// "30s", "5min", "1h 30min", "250ms", "2d": whole numbers with the units ms, s, min, h, d, largest
/// or smallest first as one likes. A bare number has no unit and is refused, but for "0".
Result<Duration> parse_duration(std::string_view text);
/// The shortest text that parse_duration() reads back as the same; rounds down to milliseconds.
std::string format_duration(Duration duration);

/// "2GiB", "512 MiB", "64KiB", "4096B", "0": whole numbers of bytes with the binary units B, KiB,
/// MiB, GiB, TiB. Decimal units (GB) are refused: half of mankind reads them as binary.
Result<uint64_t> parse_size(std::string_view text);
std::string format_size(uint64_t bytes);

}  // namespace hob
