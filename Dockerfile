# One image per component: docker build --build-arg COMPONENT=evenkeel-announcer -t evenkeel-announcer .
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG COMPONENT
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -ldflags "-s -w -X evenkeel.io/evenkeel/api/version.stamped=${VERSION}" -o /out/component "./cmd/${COMPONENT}"

# The programs are static and talk to nobody but the API server, whose certificate authority is mounted.
FROM scratch
COPY --from=build /out/component /component
# The announcer's DaemonSet runs it as root, with two capabilities.
USER 65532:65532
ENTRYPOINT ["/component"]
