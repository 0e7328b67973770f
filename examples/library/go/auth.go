// Lets only those requests pass that have a certain header: a stream filter in Go.
//
// Its configuration is text, `NAME: VALUE`. Build: CGO_CFLAGS=-I$PWD/../../../sdk/c go build -buildmode=c-shared -o auth_go.so .
package main

// #include "border.h"
import "C"

import (
	"encoding/json"
	"fmt"
	"runtime/cgo"
	"strings"
	"unsafe"
)

// Go's part of a c-shared library has a main that nobody calls.
func main() {}

// A configuration. C holds it by a handle: Go's collector may move what C points to.
type config struct {
	name, value []byte
}

//export goPrepare
func goPrepare(text C.transom_slice, fault *C.transom_fault) (object C.uintptr_t) {
	defer func() {
		if wrong := recover(); wrong != nil {
			refuse(fault, fmt.Sprint(wrong))
		}
	}()
	var written string
	if err := json.Unmarshal(bytes(text), &written); err != nil {
		refuse(fault, "it is to be text such as `User: admin`")
		return 0
	}
	name, value, found := strings.Cut(written, ":")
	if !found || name == "" {
		refuse(fault, "it has no name and colon; write for example `User: admin`")
		return 0
	}
	made := config{[]byte(name), []byte(strings.TrimLeft(value, " "))}
	return C.uintptr_t(cgo.NewHandle(made))
}

//export goRelease
func goRelease(object C.uintptr_t) {
	cgo.Handle(object).Delete()
}

// The values of the header come with the call: each way over the border costs more than all else here.
//
//export goLetsPass
func goLetsPass(object C.uintptr_t, values *C.transom_slice, count C.size_t) C.int32_t {
	wanted := cgo.Handle(object).Value().(config)
	for _, value := range unsafe.Slice(values, count) {
		if string(bytes(value)) == string(wanted.value) {
			return 1
		}
	}
	return 0
}

// The name of the header is asked for once, when the configuration is made.
//
//export goName
func goName(object C.uintptr_t, to *C.uint8_t, room C.size_t) C.size_t {
	wanted := cgo.Handle(object).Value().(config)
	return C.size_t(copy(unsafe.Slice((*byte)(to), room), wanted.name))
}

func bytes(slice C.transom_slice) []byte {
	return unsafe.Slice((*byte)(slice.bytes), slice.len)
}

func refuse(fault *C.transom_fault, why string) {
	room := unsafe.Slice((*byte)(fault.text), fault.capacity)
	fault.len = C.size_t(copy(room, why))
}
