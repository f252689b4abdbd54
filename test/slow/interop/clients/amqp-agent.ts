import { type ChannelModel, connect } from 'amqplib';

/** Logs in with a token of Hallpass. RabbitMQ takes the name from the token and ignores the one that is sent. */
export function logIn(port: number, token: string): Promise<ChannelModel> {
  return connect({ hostname: '127.0.0.1', port, username: 'agent', password: token });
}

/** Stays connected by sending the next token before the last one expires. */
export async function renew(connection: ChannelModel, token: string): Promise<void> {
  await connection.updateSecret(Buffer.from(token), 'the token ends');
}
