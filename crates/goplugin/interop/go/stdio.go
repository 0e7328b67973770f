//go:build stdio

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/golang/protobuf/ptypes/empty"
	grpctest "github.com/hashicorp/go-plugin/test/grpc"
)

func (s *testServer) PrintStdio(_ context.Context, request *grpctest.PrintStdioRequest) (*empty.Empty, error) {
	os.Stdout.Write(request.Stdout)
	os.Stderr.Write(request.Stderr)
	return &empty.Empty{}, nil
}

// stdio prints every byte value, and more than any buffer on the way holds.
func stdio(r *run) error {
	stdout, stderr := make([]byte, 300_000), make([]byte, 200_000)
	for at := range stdout {
		stdout[at] = byte(at * 7)
	}
	for at := range stderr {
		stderr[at] = byte(at * 11)
	}
	test, err := r.start()
	if err != nil {
		return err
	}
	ctx, cancel := limited()
	defer cancel()
	if _, err := test.client.PrintStdio(ctx, &grpctest.PrintStdioRequest{Stdout: stdout, Stderr: stderr}); err != nil {
		return err
	}
	out, e := r.config.SyncStdout.(*recorder), r.config.SyncStderr.(*recorder)
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if bytes.Equal([]byte(out.String()), stdout) && bytes.Equal([]byte(e.String()), stderr) {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d of %d and %d of %d bytes arrived, or others", len(out.String()), len(stdout), len(e.String()), len(stderr))
		}
	}
}
