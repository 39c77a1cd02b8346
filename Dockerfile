# Two stages: a static binary, then an image that holds nothing else than what it needs.
FROM docker.io/library/golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/retombees ./cmd/retombees
# The parts of a system that a static binary still looks for: who it is, whom it may trust, where it may write.
RUN mkdir -p /out/root/etc/ssl/certs /out/root/data /out/root/tmp \
 && echo 'retombees:x:10001:10001::/data:/sbin/nologin' > /out/root/etc/passwd \
 && echo 'retombees:x:10001:' > /out/root/etc/group \
 && cp /etc/ssl/certs/ca-certificates.crt /out/root/etc/ssl/certs/ \
 && chown 10001:10001 /out/root/data \
 && chmod 1777 /out/root/tmp

FROM scratch
LABEL org.opencontainers.image.title="Retombées" \
      org.opencontainers.image.description="Impact of organisations by territory, for the Métropole de Lyon" \
      org.opencontainers.image.licenses="EUPL-1.2" \
      org.opencontainers.image.source="https://github.com/grandlyon/retombees"
COPY --from=build /out/root/ /
COPY --from=build /out/retombees /usr/local/bin/retombees
USER 10001:10001
WORKDIR /data
VOLUME /data
# Works alone: the embedded database, in the volume. Production gives a postgres:// address instead.
ENV DATABASE_URL=sqlite:/data/retombees.db RETOMBEES_ADDR=0.0.0.0:8080
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=2m CMD ["/usr/local/bin/retombees", "health"]
ENTRYPOINT ["/usr/local/bin/retombees"]
CMD ["serve"]
