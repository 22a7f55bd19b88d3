// The smallest XenAPI plugin that does what plugin.py does: reads an XML-RPC call from its first argument and prints an
// XML-RPC answer. It looks for the method's name and does not otherwise parse, in favour of the mechanism.
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
  const char *name = argc > 1 ? strstr(argv[1], "<methodName>hello</methodName>") : NULL;
  if (!name) return 1;
  fputs("<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n<value><string>hello from the service</string></value>\n"
        "</param>\n</params>\n</methodResponse>\n", stdout);
  return 0;
}
