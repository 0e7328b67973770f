-- One line of JSON at the end of a run, in microseconds: wrk's own summary rounds to three digits.
function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        'report {"requests": %d, "microseconds": %d, "p50_us": %d, "p99_us": %d, "errors": %d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
