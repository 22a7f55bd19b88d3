# A XenAPI plugin in the usual way: xapi starts it for each call with an XML-RPC call as its first argument, and reads an
# XML-RPC answer from its standard output (as XenAPIPlugin.dispatch does).
import sys
import xmlrpc.client


def hello(session, args):
    return "hello from the service"


params, method = xmlrpc.client.loads(sys.argv[1])
print(xmlrpc.client.dumps(({"hello": hello}[method](*params),), "", True))
