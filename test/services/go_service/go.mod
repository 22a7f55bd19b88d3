module service

go 1.19

require xengate v0.0.0

replace xengate => ../../../libraries/go
