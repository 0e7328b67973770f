// Command noop, built with -buildmode=c-shared, is noop.c with its callbacks in Go.
package main

// #cgo CFLAGS: -I${SRCDIR}/.. -I${SRCDIR}/../../../sdk/c
// #include "transom.h"
import "C"

//export goHeaders
func goHeaders(object C.transom_object, stream C.transom_handle, end C.uint32_t) C.int32_t {
	return 0
}

func main() {}
