module example.com/jobgate-client

go 1.19
