// What the READMEs of all languages have in common. `%NAME%` is the service's name.

/** The section that says how to try a service: `start` starts it, but for the directory, and `check` is its test. */
export function tryIt(start: string, check: string): string {
  return `## Try it

If a gateway is running already, give the service the directory that it looks in. In Xengate's \`docs/start.md\` the gateway runs one
directory up. Each in a terminal of its own, in this directory:

\`\`\`sh
${start} ../.xengate/plugin
${check}
\`\`\`

If none is running, start one in this directory:

\`\`\`sh
npx xengate dev
${start} .xengate/plugin
${check}
\`\`\`

The test takes the password from \`.xengate/password\` in this directory, or in the nearest above it that has one; \`XENGATE_PASSWORD\`,
\`XENGATE_USER\` and \`XENGATE_URL\` lead it to another gateway. \`npx xengate login http://127.0.0.1:8080 --user root\` and
\`npx xengate get %NAME%\` call the service by hand. \`npx\` finds \`xengate\` in a checkout of Xengate and below it; where it is installed, leave
\`npx\` out.
`
}
