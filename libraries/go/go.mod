module xengate

go 1.19
