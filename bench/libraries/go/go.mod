module transom.test/bench/libraries

go 1.25
