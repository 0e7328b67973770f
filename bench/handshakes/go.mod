module transom.test/bench/handshakes

go 1.25
