import {
  CreateTags$,
  DescribeImages$,
  DescribeInstances$,
  DescribeInstanceStatus$,
  DescribeInstanceTypeOfferings$,
  DescribeInstanceTypes$,
  DescribeSpotInstanceRequests$,
  DescribeSpotPriceHistory$,
  DescribeSubnets$,
  GetConsoleOutput$,
  RunInstances$,
  StartInstances$,
  StopInstances$,
  TerminateInstances$,
} from '@aws-sdk/client-ec2';
import { Ec2Error } from '../ec2-error.ts';
import type { Ec2Action, Ec2Input, Region } from '../region.ts';
import { escapeXml, parseForm, readRequest, shapesOf, writeAnswer } from './shapes.ts';

/** What EC2 itself does; the rest of the region's calls belong to EC2 Instance Connect, which speaks JSON. */
type QueryAction = Exclude<Ec2Action, 'SendSSHPublicKey'>;

const SCHEMAS: Readonly<Record<QueryAction, unknown>> = {
  CreateTags: CreateTags$,
  DescribeImages: DescribeImages$,
  DescribeInstances: DescribeInstances$,
  DescribeInstanceStatus: DescribeInstanceStatus$,
  DescribeInstanceTypeOfferings: DescribeInstanceTypeOfferings$,
  DescribeInstanceTypes: DescribeInstanceTypes$,
  DescribeSpotInstanceRequests: DescribeSpotInstanceRequests$,
  DescribeSpotPriceHistory: DescribeSpotPriceHistory$,
  DescribeSubnets: DescribeSubnets$,
  GetConsoleOutput: GetConsoleOutput$,
  RunInstances: RunInstances$,
  StartInstances: StartInstances$,
  StopInstances: StopInstances$,
  TerminateInstances: TerminateInstances$,
};

const VERSION = '2016-11-15';
const PROTOCOL_NAMES = ['Action', 'Version'];
const DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n';

/** Answers that EC2 gives without a result of their own say `<return>true</return>`. */
const BARE_ANSWERS: readonly QueryAction[] = ['CreateTags'];

/** The action a body asks for, before anything else is read; empty when it names none. */
export function actionOf(body: string): string {
  return new URLSearchParams(body).get('Action') ?? '';
}

/** Performs the call in a form body and gives the answer's XML. Throws {@link Ec2Error}. */
export function performForm(region: Region, body: string, requestId: string): string {
  const form = parseForm(body);
  const action = form.children.get('Action')?.text ?? '';
  const version = form.children.get('Version')?.text ?? '';
  if (!isQueryAction(action))
    throw new Ec2Error('InvalidAction', `The action '${action}' is not valid for this web service.`);
  if (version !== VERSION) throw new Ec2Error('InvalidParameterValue', `The version '${version}' is not ${VERSION}`);
  const { input, output } = shapesOf(SCHEMAS[action]);
  const request = readRequest(input, form, PROTOCOL_NAMES) as Ec2Input<typeof action>;
  const answer = region.perform(action, request);
  const inside = BARE_ANSWERS.includes(action) ? '<return>true</return>' : writeAnswer(output, answer);
  return (
    `${DECLARATION}<${action}Response xmlns="http://ec2.amazonaws.com/doc/${VERSION}/">` +
    `<requestId>${requestId}</requestId>${inside}</${action}Response>`
  );
}

function isQueryAction(text: string): text is QueryAction {
  return Object.hasOwn(SCHEMAS, text);
}

/** EC2's error document. */
export function writeError(error: Ec2Error, requestId: string): string {
  return (
    `${DECLARATION}<Response><Errors><Error><Code>${error.code}</Code><Message>${escapeXml(error.message)}</Message></Error></Errors>` +
    `<RequestID>${requestId}</RequestID></Response>`
  );
}
