# syntax=docker/dockerfile:1
# The image of sser. As the original's:
#
#   docker build -t sser .
#   docker run --env-file .env -p 80:80 -p 443:443 -v ./_config:/_config -v ./_storage:/_storage sser
#
# It begins as root to give the data folder to the user `node`, and goes on as that user; with `--user` it does neither.
# It needs to write in /_storage only: `--read-only` works.

FROM node:24-bookworm-slim AS build
WORKDIR /build
COPY . .
RUN npm ci && npm prune --omit=dev

FROM node:24-bookworm-slim
ENV NODE_ENV=production
COPY --from=build /build/package.json /build/LICENSE /sser/
COPY --from=build /build/config /sser/config
COPY --from=build /build/node_modules /sser/node_modules
COPY --from=build /build/dist /sser/dist
RUN ln -s /sser/dist/src/main.js /usr/local/bin/sser
# Relative folders of the configuration, ./_config and ./_storage, are sought from here, as in the original.
WORKDIR /
VOLUME /_storage
EXPOSE 8889 8888
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["node", "/sser/config/docker/healthcheck.mjs"]
ENTRYPOINT ["/sser/config/docker/entrypoint.sh"]
CMD ["sser"]
