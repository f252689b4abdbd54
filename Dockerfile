FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=optional --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build

FROM node:24-slim
ENV NODE_ENV=production
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# No compilers, no tests, and no embedded PostgreSQL: in a container there is a database of its own.
RUN npm ci --omit=dev --omit=optional --ignore-scripts && npm cache clean --force
COPY LICENSE ./
COPY migrations ./migrations
COPY --from=build /app/dist ./dist

# The user "node" of the image, by number, so that an orchestrator can tell that it is not root. It owns nothing here.
USER 1000:1000
ENV HALLPASS_HOST=0.0.0.0 HALLPASS_GATEWAY_HOST=0.0.0.0
EXPOSE 8080 8081 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.HALLPASS_PORT || 8080}/readyz`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "dist/main.js"]
