//go:build panic

package main

import (
	"context"

	"github.com/golang/protobuf/ptypes/empty"
	grpctest "github.com/hashicorp/go-plugin/test/grpc"
)

func (s *testServer) Panic(_ context.Context, request *grpctest.PanicRequest) (*empty.Empty, error) {
	panic(request.Message)
}
