module interop

go 1.24

require github.com/hashicorp/go-plugin v1.8.0
