-- Mostly what the cases send, and now and then a body: of known length, and in chunks.
local requests, sent = {}, 0

function init()
    local plain = wrk.format("GET", "/")
    wrk.headers["Content-Type"] = "text/plain"
    local small = wrk.format("POST", "/", nil, string.rep("x", 500))
    local large = wrk.format("POST", "/", nil, string.rep("x", 20000))
    wrk.headers["Content-Type"] = nil
    local chunked = wrk.format("POST", "/", {
        ["Host"] = wrk.headers["Host"],
        ["User"] = wrk.headers["User"],
        ["Transfer-Encoding"] = "chunked",
    }) .. "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    for _ = 1, 37 do table.insert(requests, plain) end
    table.insert(requests, small)
    table.insert(requests, large)
    table.insert(requests, chunked)
end

function request()
    sent = sent + 1
    return requests[sent % #requests + 1]
end
